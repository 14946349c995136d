"""Ledger state: its JSON form, and changes that are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import MOST_VERSIONS, LedgerState, Overtaken, VersionOutcome, Watch

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def state() -> LedgerState:
    """One run that ended, one that failed, and one under way."""
    first = LedgerState().started(["a", "b"], "run-1", (1, 1)).claimed("run-1", "x")
    ended = first.ended("run-1", 1, "promoted", model="m1", why="better", others={"b": "quarantined"})
    failed = ended.started(["c"], "run-2", (2, 1)).failed("run-2", "gone", NOW, Retries())
    return failed.started(["c", "d"], "run-3", (2, 2)).claimed("run-3", "y").marked_bad("m0")


def test_the_json_form_is_read_back() -> None:
    assert LedgerState.from_json(state().to_json(), "ledger.json") == state()
    assert LedgerState.from_json(None, "ledger.json") == LedgerState()


def test_a_canary_that_was_left_is_read_back_and_ends_with_the_run() -> None:
    left = state().watched("run-3", "y", Watch("m2", {"d": "quarantined"}))
    assert LedgerState.from_json(left.to_json(), "ledger.json") == left
    # Earlier releases read a ledger without one.
    assert "watch" not in state().to_json()["run"]
    assert left.watched("run-3", "y", Watch("m2", {"d": "quarantined"})) == left
    assert left.ended("run-3", 2, "kept").run is None
    with pytest.raises(Overtaken):
        left.watched("run-3", "x", Watch("m3"))
    damaged = left.to_json()
    damaged["run"]["watch"] = {"model": "m2"}
    with pytest.raises(DataError, match="the ledger is damaged"):
        LedgerState.from_json(damaged, "ledger.json")


@pytest.mark.parametrize("damage", [[], {}, {"format": 2}, {"format": 1, "epoch": 1}, {**state().to_json(), "run": 3}])
def test_a_damaged_ledger_is_refused(damage: object) -> None:
    with pytest.raises(DataError, match="the ledger is damaged"):
        LedgerState.from_json(damage, "ledger.json")


def test_an_ending_that_is_written_again_changes_nothing() -> None:
    done = state().ended("run-3", 2, "kept", model="m2")
    assert done.ended("run-3", 2, "kept", model="m2") == done
    assert state().ended("run-1", 1, "promoted", model="m1") == state()
    assert (done.failure, done.attempt, done.next_fence) == (None, 0, (3, 1))


def test_a_run_that_is_tried_again_has_the_same_data() -> None:
    """What came since waits for the run after it, so that each attempt at an epoch gives the same."""
    failed = LedgerState().started(["a"], "run-1", (1, 1)).failed("run-1", "gone", NOW, Retries())
    later = NOW + timedelta(hours=1)
    assert failed.waiting(["a", "b"], NOW) == ()
    assert failed.waiting(["a", "b"], later) == ("a",)
    ended = failed.started(["a"], "run-2", (1, 2)).ended("run-2", 1, "kept")
    assert ended.waiting(["a", "b"], later) == ("b",)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="is not of this run"):
        state().ended("run-3", 2, "kept", others={"a": "quarantined"})
    with pytest.raises(UsageError, match="data versions that are not done"):
        LedgerState(done={"a": VersionOutcome("kept", 1)}).started(["a"], "r", (1, 1))
    with pytest.raises(UsageError, match=r"cannot be tried again.*Received: a, promoted"):
        state().restored(["a"])
    with pytest.raises(UsageError, match="the ledger is full"):
        LedgerState(done={str(n): VersionOutcome("kept", 1) for n in range(MOST_VERSIONS)}).started(["x"], "r", (1, 1))
    assert state().restored(["b"]).done.keys() == {"a"}


def test_waits_double_up_to_the_longest() -> None:
    retries = Retries(first=timedelta(minutes=1), longest=timedelta(minutes=5))
    assert [retries.wait(n).total_seconds() for n in (1, 2, 3, 4, 1000)] == [60, 120, 240, 300, 300]
    for wrong in ({"attempts": 0}, {"first": timedelta(0)}, {"first": timedelta(days=1)}):
        with pytest.raises(UsageError, match="the retries are not valid"):
            Retries(**wrong)  # type: ignore[arg-type]


def test_only_versions_that_failed_too_often_are_given_up() -> None:
    retries = Retries(attempts=2)
    once = LedgerState().started(["a"], "run-1", (1, 1)).failed("run-1", "gone", NOW, retries)
    twice = once.started(["a", "b"], "run-2", (1, 2)).failed("run-2", "gone", NOW, retries)
    assert twice.done == {"a": VersionOutcome("given up", 1)}
    assert twice.failure is not None
    assert (twice.failure.attempts, twice.next_fence) == ({"b": 1}, (2, 1))
    assert twice.waiting(["a", "b"], NOW) == ()
    assert twice.waiting(["a", "b"], NOW + timedelta(hours=1)) == ("b",)
