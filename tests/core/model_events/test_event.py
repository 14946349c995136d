"""Model events: the newest epoch wins in any order of arrival, and a message that is none is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError, UsageError
from headrace.core.model_events.event import LARGEST, ModelEvent, ModelPointer

EVENT = ModelEvent("taxi", 3, "promote", "v3", "gs://b/registry/v3", "a" * 64, at="2026-11-29T00:00:00+00:00")


def test_a_message_is_read_back() -> None:
    assert ModelEvent.decode(EVENT.encode(), "topic") == EVENT


@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8), max_size=8))
def test_the_newest_epoch_wins_in_any_order(order: list[int], repeated: list[int]) -> None:
    pointer = ModelPointer()
    for epoch in [*order, *repeated]:
        before = pointer.newest.get("taxi")
        found = pointer.add(dataclasses.replace(EVENT, epoch=epoch, version=f"v{epoch % 3}"))
        newer = before is None or epoch > before.epoch
        assert found == ("new" if newer else "repeated" if before and before.epoch == epoch else "older")
    assert pointer.newest["taxi"].epoch == 8


def test_one_epoch_with_two_versions_is_a_conflict_and_applications_are_apart() -> None:
    pointer = ModelPointer()
    other = dataclasses.replace(EVENT, app="bikes", epoch=1)
    assert [pointer.add(event) for event in (EVENT, other)] == ["new", "new"]
    assert pointer.add(dataclasses.replace(EVENT, version="v4")) == "conflicting"
    assert pointer.newest == {"taxi": EVENT, "bikes": other}


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
