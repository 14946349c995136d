"""Requests of training: due by rows, time or drift, and safe to be cut off anywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.messages.request import (
    PendingSpan,
    RequestRule,
    add_pending,
    pending,
    reason_of,
    request_training,
)
from headrace.core.errors import DataError, PlatformError, UsageError

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Training:
    """A training that notes what it is told, and whose pump fails when it is told to."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str, str]] = []
        self.pumped = 0
        self.down = False

    def arrive(self, span: str, data: str, reason: str, now: datetime) -> None:
        self.arrived.append((span, data, reason))

    def pump(self, now: datetime) -> str:
        if self.down:
            raise PlatformError("down")
        self.pumped += 1
        return "started run 1"


def _span(number: int, rows: int = 10, at: float = 0, drift: str = "") -> PendingSpan:
    return PendingSpan(f"span-{number}", f"/data/{number}.parquet", rows, NOON + timedelta(seconds=at), drift)


@pytest.mark.parametrize(
    ("rule", "spans", "after", "reason"),
    [
        (RequestRule(rows=20), [_span(1)], 0, ""),
        (RequestRule(rows=20), [_span(1), _span(2)], 0, "rows"),
        (RequestRule(rows=None, seconds=60), [_span(1, 10_000), _span(2, at=30)], 59, ""),
        (RequestRule(rows=None, seconds=60), [_span(1), _span(2, at=30)], 60, "time"),
        (RequestRule(rows=20, seconds=60), [_span(1, at=30), _span(2, 9, at=0)], 60, "time"),
        (RequestRule(rows=20), [_span(1, drift="skew of age")], 0, ""),
        (RequestRule(rows=20, drift=True), [_span(1, drift="skew of age")], 0, "drift"),
        (RequestRule(rows=1, seconds=1, drift=True), [], 1000, ""),
    ],
)
def test_a_request_is_due_by_rows_time_or_drift(
    rule: RequestRule, spans: list[PendingSpan], after: float, reason: str
) -> None:
    assert reason_of(rule, spans, NOON + timedelta(seconds=after)) == reason


def test_pending_spans_are_requested_together_and_once(tmp_path: Path) -> None:
    uri, training, rule = str(tmp_path / "pending.json"), Training(), RequestRule(rows=20, seconds=60)
    assert request_training(uri, rule, training, NOON).next is None
    add_pending(uri, _span(2))
    waiting = request_training(uri, rule, training, NOON)
    assert (waiting.reason, waiting.next) == ("", NOON + timedelta(seconds=60))
    add_pending(uri, _span(1))
    add_pending(uri, _span(1, rows=99))
    assert [span.rows for span in pending(uri)] == [10, 10]
    found = request_training(uri, rule, training, NOON)
    assert (found.reason, found.spans, found.did) == ("rows", ("span-1", "span-2"), "started run 1")
    assert training.arrived == [
        ("span-1", "/data/1.parquet", "messages, rows"),
        ("span-2", "/data/2.parquet", "messages, rows"),
    ]
    assert pending(uri) == []
    assert request_training(uri, rule, training, NOON).reason == ""
    assert training.pumped == 1


def test_a_platform_that_fails_leaves_the_spans_pending(tmp_path: Path) -> None:
    uri, training, rule = str(tmp_path / "pending.json"), Training(), RequestRule(rows=1)
    add_pending(uri, _span(1))
    training.down = True
    with pytest.raises(PlatformError):
        request_training(uri, rule, training, NOON)
    assert [span.span for span in pending(uri)] == ["span-1"]
    training.down = False
    assert request_training(uri, rule, training, NOON).spans == ("span-1",)
    # The inbox of the ledger knows the second announcement of the same data.
    assert training.arrived == [("span-1", "/data/1.parquet", "messages, rows")] * 2


def test_spans_that_come_during_a_request_stay_pending(tmp_path: Path) -> None:
    uri = str(tmp_path / "pending.json")

    class Slow(Training):
        def pump(self, now: datetime) -> str:
            add_pending(uri, _span(2))
            return super().pump(now)

    add_pending(uri, _span(1))
    assert request_training(uri, RequestRule(rows=1), Slow(), NOON).spans == ("span-1",)
    assert [span.span for span in pending(uri)] == ["span-2"]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), max_size=8), st.integers(1, 100), st.integers(1, 90)
)
def test_the_time_of_the_next_request_is_when_it_is_due(found: list[tuple[int, int]], rows: int, seconds: int) -> None:
    rule = RequestRule(rows, float(seconds))
    spans = [_span(number, *one) for number, one in enumerate(found)]
    due = [NOON + timedelta(seconds=at + seconds) for _, at in found]
    if spans and sum(count for count, _ in found) < rows:
        assert reason_of(rule, spans, min(due)) == "time"
        assert reason_of(rule, spans, min(due) - timedelta(milliseconds=1)) == ""


@pytest.mark.parametrize("content", ["[]", '{"kind": "PendingSpans", "format": 2, "spans": {}}', '{"kind": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "pending.json").write_text(content)
    calls: list[Callable[[str], Any]] = [pending, lambda uri: add_pending(uri, _span(1))]
    for call in calls:
        with pytest.raises(DataError, match="the file of pending spans is damaged"):
            call(str(tmp_path / "pending.json"))


@pytest.mark.parametrize("more", [{"rows": 0}, {"rows": None}, {"seconds": -1.0}, {"seconds": float("nan")}])
def test_a_rule_that_is_never_due_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RequestRule(**more)
