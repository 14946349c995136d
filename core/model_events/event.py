"""Model event: an application uses a version of a Model from now on.

Events are ordered by their epoch, not by their arrival: an older or a repeated event has no effect. A rollback is a
newer event that names an older version. The epoch is that of the registry, which counts all changes of the champion,
whether a command, a schedule or a pipeline made them.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headrace.core.checks import check_count
from headrace.core.errors import DataError, UsageError
from headrace.core.event_message import event_of
from headrace.core.storage.json_lines import json_bytes

Action = Literal["promote", "rollback"]
ACTIONS: tuple[Action, ...] = ("promote", "rollback")

_FORMAT = 1
# Names of applications.
APP = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST_TEXT = 4096


@dataclass(frozen=True)
class ModelEvent:
    """A promotion or a rollback.

    Args:
        app: name of the application, by default the Problem's name: 1 to 128 letters, digits, - and _.
        epoch: number of the registry's change, 1 or more; the larger one is newer.
        action: promote, or rollback to a version that was in use before.
        version: version of the Model.
        model: path or URI (gs://, s3://) of the Model's folder.
        digest: SHA-256 of its record `registered.json`, in 64 hexadecimal digits.
        signature: name of its signature.
        problem: digest of the Problem that it was trained for; "" if it is unknown.
        who, at, why: author, time (ISO 8601 in UTC) and reason of the change.

    Raises:
        UsageError: a value is not valid, or a text has more than 4,096 characters.
    """

    app: str
    epoch: int
    action: Action
    version: str
    model: str
    digest: str
    signature: str = "serving_default"
    problem: str = ""
    who: str = ""
    at: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "epoch" and (not isinstance(value, str) or len(value) > _LONGEST_TEXT):
                raise _invalid(name, f"text of at most {_LONGEST_TEXT:,} characters", value)
        check_count(self.epoch, "epoch of the model event", minimum=1)
        if not APP.match(self.app):
            raise _invalid("app", "1 to 128 letters, digits, - and _, starting with a letter", self.app)
        if self.action not in ACTIONS:
            raise _invalid("action", " or ".join(ACTIONS), self.action)
        if not _DIGEST.match(self.digest):
            raise _invalid("digest", "64 hexadecimal digits", self.digest)
        for name in ("version", "model", "signature"):
            if not getattr(self, name):
                raise _invalid(name, "a text that is not empty", "")

    def encode(self) -> bytes:
        """The event as JSON bytes. Equal events have equal bytes."""
        return json_bytes({"kind": "ModelEvent", "format": _FORMAT, **asdict(self)})

    @staticmethod
    def decode(message: bytes, where: str) -> ModelEvent:
        """Reads a message.

        Args:
            message: JSON of at most 16 KiB.
            where: origin of the message, for an error.

        Raises:
            DataError: the message is not a model event.
        """
        content: Any = event_of(message, "model event", where)
        try:
            if not isinstance(content, dict) or (content.pop("kind"), content.pop("format")) != ("ModelEvent", _FORMAT):
                raise ValueError(f"not a model event of format {_FORMAT}")
            return ModelEvent(**content)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DataError("the message is not a model event", where=where, received=str(error)[:500]) from error


def _invalid(name: str, expected: str, value: object) -> UsageError:
    return UsageError(f"{name} of the model event is not valid", expected=expected, received=repr(value)[:100])
