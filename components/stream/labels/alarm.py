"""Metric alarm: a message that the metric of a version on labels exceeds a bound, which can trigger a training.

Its topic also contains alarms about model events, which trigger no training.
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
        app: name of the application.
        version: version of the model that predicted; "" if the predictions do not contain it.
        alarm: the alarm, as of monitoring. A repeated measurement of the window has the same id.
    """

    app: str
    version: str
    alarm: Alarm

    def encode(self, member: str) -> bytes:
        """The alarm as JSON bytes.

        Args:
            member: name of the process that raises the alarm.
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
            where: origin of the message, for an error.

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
