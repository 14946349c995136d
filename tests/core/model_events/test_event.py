"""Model events: what is written is read back, and a message that is none is refused."""

from __future__ import annotations

import dataclasses

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.core.event_message import LARGEST
from headrace.core.model_events.event import ModelEvent

EVENT = ModelEvent("taxi", 3, "promote", "v3", "gs://b/registry/v3", "a" * 64, at="2026-11-29T00:00:00+00:00")


def test_a_message_is_read_back() -> None:
    assert ModelEvent.decode(EVENT.encode(), "topic") == EVENT


@pytest.mark.parametrize(
    "change",
    [
        {"app": "../x"},
        {"epoch": 0},
        {"epoch": True},
        {"action": "delete"},
        {"digest": "A" * 64},
        {"version": ""},
        {"model": 3},
        {"why": "x" * 5000},
    ],
)
def test_values_that_are_not_valid_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))} of the model event"):
        dataclasses.replace(EVENT, **change)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        EVENT.encode().replace(b"ModelEvent", b"Registry"),
        EVENT.encode().replace(b'"epoch": 3', b'"epoch": "3"').replace(b'"epoch":3', b'"epoch":"3"'),
        EVENT.encode().replace(b'"version"', b'"other"'),
        b"[" * LARGEST,
        b" " * (LARGEST + 1),
    ],
)
def test_a_message_that_is_no_model_event_is_refused(message: bytes) -> None:
    with pytest.raises(DataError):
        ModelEvent.decode(message, "topic models, partition 0, offset 7")
