"""Decoding of messages: a JSON object becomes a row of a window's span, or a dead letter with its reason."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from headrace.components.messages.columns import MessageColumn, NotStorable, Value
from headrace.core.beam.windows import Windows
from headrace.core.saved_model.json.messages import kind_of, shown

Reason = Literal["malformed", "late", "duplicate"]
REASONS: tuple[Reason, ...] = ("malformed", "late", "duplicate")
# Maximum by which publishers' clocks may be ahead: a wrong time would open a window that never closes.
FUTURE_SECONDS = 300
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}\Z")


@dataclass(frozen=True)
class Message:
    """A message as Pub/Sub delivers it.

    Attributes:
        data: payload of the message.
        attributes: attributes of the message.
        id: id that Pub/Sub assigned.
        published: time of publication, with a time zone.
    """

    data: bytes
    attributes: Mapping[str, str]
    id: str
    published: datetime


class Row(NamedTuple):
    """A row of a span.

    Attributes:
        span: name of its window's span.
        id: id of the message: the attribute that identifies it, or Pub/Sub's id.
        values: one value per column of the decoder.
        message: the dead letter of the message without a reason, for a message that the span does not accept.
    """

    span: str
    id: str
    values: Sequence[Value]
    message: Mapping[str, Any]

    def encode(self) -> bytes:
        """The row as JSON, the form in which a runner passes it."""
        return json.dumps(self).encode()

    @staticmethod
    def decode(content: bytes) -> Row:
        """The row from the result of `encode`."""
        return Row(*json.loads(content))


@dataclass(frozen=True)
class Decoder:
    """Decodes messages.

    Args:
        columns: columns of spans.
        windows: windows of time.
        id_attribute: attribute that identifies a message if it is published repeatedly; "" uses only Pub/Sub's id.
        time_attribute: attribute with the time of the row, in milliseconds since 1970 or in RFC 3339; "" uses the time
            of publication.
    """

    columns: tuple[MessageColumn, ...]
    windows: Windows
    id_attribute: str = ""
    time_attribute: str = ""

    def decode(self, message: Message) -> Row | dict[str, Any]:
        """The row of a message, or its dead letter: the members of `letter_of`, `reason` and `message`."""
        identity = message.attributes.get(self.id_attribute) or message.id
        letter = letter_of(message, identity)
        try:
            time = self._time(message)
            span = self.windows.span_of(time)
            values = [column.value(value) for column, value in self._fields(message.data)]
        except NotStorable as error:
            return {**letter, "reason": "malformed", "message": str(error)}
        if message.published >= self.windows.closes(span):
            said = f"its window closed at {_text(self.windows.closes(span))}, before it was published"
            return {**letter, "reason": "late", "message": said}
        return Row(span, identity, values, letter)

    def _fields(self, data: bytes) -> list[tuple[MessageColumn, Any]]:
        try:
            content = json.loads(data.decode())
        except UnicodeDecodeError as error:
            raise NotStorable(f"it is not UTF-8: {error}") from error
        except (ValueError, RecursionError) as error:
            raise NotStorable(f"it is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise NotStorable(f"it is {kind_of(content)}, not an object: {shown(content)}")
        if not any(column.name in content for column in self.columns):
            named = ", ".join(column.name for column in self.columns)
            raise NotStorable(f"it has none of the fields {named[:300]}")
        return [(column, content.get(column.name)) for column in self.columns]

    def _time(self, message: Message) -> datetime:
        if not self.time_attribute:
            return message.published
        text = message.attributes.get(self.time_attribute, "")
        try:
            if _MILLISECONDS.match(text):
                time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))
            else:
                time = datetime.fromisoformat(text)
                if time.tzinfo is None:
                    raise ValueError("it has no offset from UTC")
                time = time.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise NotStorable(f"its time, the attribute {self.time_attribute}, is not valid: {text!r}") from error
        if time > message.published + timedelta(seconds=FUTURE_SECONDS):
            raise NotStorable(f"its time is in the future: {text}, published at {_text(message.published)}")
        return time


def letter_of(message: Message, identity: str) -> dict[str, Any]:
    """A message as JSON values: `id`, `message_id`, `published`, `attributes`, and `data`, or `base64` if not UTF-8."""
    try:
        data = {"data": message.data.decode()}
    except UnicodeDecodeError:
        data = {"base64": base64.b64encode(message.data).decode()}
    return {
        "id": identity,
        "message_id": message.id,
        "published": _text(message.published),
        "attributes": dict(message.attributes),
        **data,
    }


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
