"""Model outcome: the result of a model event, for alarms and metrics."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["switched", "refused", "unreachable", "conflicting", "invalid"]


@dataclass(frozen=True)
class ModelOutcome:
    """Result of a model event.

    Attributes:
        kind: switched (the model is in use), refused (it is bad, and never retried), unreachable (it is retried),
            conflicting (another event of its epoch came first), or invalid (the message is not a model event).
        app, epoch, version, model: as of `ModelEvent`; "" and 0 for an invalid message.
        reason: the reason, as a paragraph; "" for a switch.
        in_use: version in use now; "" without a model.
        attempts: number of failed attempts to read the model.
        seconds: duration of loading and checking, in seconds; 0 if the model is not in use.
    """

    kind: Kind
    app: str = ""
    epoch: int = 0
    version: str = ""
    model: str = ""
    reason: str = ""
    in_use: str = ""
    attempts: int = 0
    seconds: float = 0.0

    @property
    def alarming(self) -> bool:
        """Whether it raises an alarm: any failure, but of attempts to read a model only the 1st, 2nd, 4th, 8th..."""
        if self.kind == "unreachable":
            return self.attempts & (self.attempts - 1) == 0
        return self.kind != "switched"

    @property
    def text(self) -> str:
        """The outcome as a sentence, for the log."""
        if self.kind == "switched":
            return f"{self.app}: version {self.version} of epoch {self.epoch} is in use, after {self.seconds:.2f} s"
        stays = f"version {self.in_use} stays" if self.in_use else "no model is in use"
        what = f"version {self.version} of epoch {self.epoch}" if self.app else "a message"
        return f"{self.app or 'model events'}: {what} is {self.kind}, {stays}: {self.reason}"

    def alarm(self, *, member: str, at: str) -> bytes:
        """The alarm event as JSON.

        Args:
            member: name of the scorer that raises the alarm.
            at: time, ISO 8601 in UTC.
        """
        content = {"kind": "StreamAlarm", "format": 1, "alarm": f"model_{self.kind}", "member": member, "at": at}
        facts = {name: value for name, value in asdict(self).items() if name != "kind"}
        return json.dumps(content | facts).encode()


def member_name() -> str:
    """The name of this scorer in alarms and in a group."""
    return f"{socket.gethostname()}-{os.getpid()}"


Tell = Callable[[ModelOutcome], None]
