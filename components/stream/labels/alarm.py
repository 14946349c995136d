"""Metric alarm: the metric of a version on labels is beyond a bound, as a message that can start a training.

Its topic also holds alarms about model events, which start none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from headrace.components.monitor.alarms import Alarm
from headrace.core.errors import DataError
from headrace.core.event_message import event_of

_KIND, _FORMAT = "StreamAlarm", 1
_KINDS = ("metric", "metric_loss")
_LONGEST_TEXT = 500


@dataclass(frozen=True)
class MetricAlarm:
    """A metric alarm of an application.

    Attributes:
        app: the application.
        version: of the model that predicted; "" if predictions name none.
        alarm: as of monitoring. Its id is the same when the window is measured again.
    """

    app: str
    version: str
    alarm: Alarm

    def encode(self, member: str) -> bytes:
        """The message, as JSON.

        Args:
            member: name of the process that raises it.
        """
        alarm = self.alarm
        content = {
            "kind": _KIND,
            "format": _FORMAT,
            "alarm": alarm.kind,
            "member": member,
            "at": alarm.at,
            "app": self.app,
            "version": self.version,
            "id": alarm.id,
            "metric": alarm.feature,
            "value": alarm.value,
            "threshold": alarm.threshold,
            "window": alarm.window,
        }
        return json.dumps(content).encode()

    @staticmethod
    def decode(message: bytes, where: str) -> MetricAlarm | None:
        """Reads a message of an alarm topic; None for an alarm about a model event.

        Args:
            message: JSON of at most 16 KiB.
            where: it came from, for messages to people.

        Raises:
            DataError: the message is not an alarm event.
        """
        content: Any = event_of(message, "alarm event", where)
        try:
            if (content["kind"], content["format"]) != (_KIND, _FORMAT):
                raise ValueError(f"not an alarm event of format {_FORMAT}")
            if content["alarm"] not in _KINDS:
                return None
            begin, end = map(_text, content["window"])
            alarm = Alarm(
                _text(content["id"]),
                content["alarm"],
                _text(content["metric"]),
                float(content["value"]),
                float(content["threshold"]),
                (begin, end),
                _text(content["at"]),
            )
            if not alarm.id:
                raise ValueError("the id is empty")
            return MetricAlarm(_text(content["app"]), _text(content["version"]), alarm)
        except (KeyError, TypeError, ValueError) as error:
            received = f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]
            raise DataError("the message is not an alarm event", where=where, received=received) from error


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"not a text of at most {_LONGEST_TEXT} characters: {value!r}"[:_LONGEST_TEXT])
    return value
