"""Metric alarms as messages: what is written is read, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.components.monitor.alarms import Alarm
from headrace.components.stream.labels.alarm import MetricAlarm
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.core.errors import DataError
from headrace.core.event_message import LARGEST

ALARM = MetricAlarm(
    "taxi", "v1", Alarm("a1", "metric", "rmse", 5.0, 2.0, ("2026-11-29T10:00:00Z", "2026-11-29T10:05:00Z"), "2026")
)
CONTENT: dict[str, Any] = json.loads(ALARM.encode("me"))


def test_what_is_written_is_read() -> None:
    assert MetricAlarm.decode(ALARM.encode("me"), "here") == ALARM
    assert CONTENT["member"] == "me"


def test_an_alarm_about_a_model_event_is_none() -> None:
    outcome = ModelOutcome("refused", "taxi", 3, "v2", "/models/v2", "it is bad", "v1")
    assert MetricAlarm.decode(outcome.alarm(member="me", at="2026"), "here") is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b'"metric"',
        b"{}",
        b"\xff",
        json.dumps({**CONTENT, "kind": "ModelEvent"}).encode(),
        json.dumps({**CONTENT, "format": 2}).encode(),
        json.dumps({**CONTENT, "id": ""}).encode(),
        json.dumps({**CONTENT, "id": 3}).encode(),
        json.dumps({**CONTENT, "id": "x" * 501}).encode(),
        json.dumps({**CONTENT, "id": "a\nb"}).encode(),
        json.dumps({**CONTENT, "version": None}).encode(),
        json.dumps({**CONTENT, "value": "high"}).encode(),
        json.dumps({**CONTENT, "window": None}).encode(),
        json.dumps({**CONTENT, "window": ["a"]}).encode(),
        json.dumps({name: value for name, value in CONTENT.items() if name != "app"}).encode(),
        b"[" * 10_000,
        b" " * (LARGEST + 1),
    ],
)
def test_what_is_no_alarm_event_is_refused(message: bytes) -> None:
    with pytest.raises(DataError) as error:
        MetricAlarm.decode(message, "topic alarms, partition 0, offset 7")
    assert error.value.where == "topic alarms, partition 0, offset 7"
    assert len(error.value.paragraph) < 1000
