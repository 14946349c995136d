"""Origins of changes, and the clock of durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.components.registry import origin


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_steady_clock_follows_no_step_of_the_machines(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    passed = {"s": 50.0}
    monkeypatch.setattr(origin, "utc_now", lambda: start)
    monkeypatch.setattr(origin.time, "monotonic", lambda: passed["s"])
    clock = origin.steady_clock()
    assert clock() == start
    monkeypatch.setattr(origin, "utc_now", lambda: start + timedelta(hours=hours))
    passed["s"] += 90.0
    assert clock() == start + timedelta(seconds=90)
