"""Windows of time: each time is in one, whose name says which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.beam.windows import Windows, parse
from headrace.core.errors import UsageError


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(1, 86_400), st.integers(0, 3600))
def test_a_window_holds_its_times_and_no_others(time: datetime, seconds: int, grace: int) -> None:
    time = time.replace(tzinfo=UTC)
    windows = Windows(seconds, grace)
    begin, length = parse(windows.span_of(time))
    assert length == seconds
    assert begin <= time < begin + timedelta(seconds=seconds)
    assert windows.closes(windows.span_of(time)) == begin + timedelta(seconds=seconds + grace)
    assert windows.span_of(begin) == windows.span_of(time)
    assert windows.span_of(begin + timedelta(seconds=seconds)) > windows.span_of(time)


@pytest.mark.parametrize("name", ["", "2026-11-29", "2026-11-29T140500Z", "2026-11-29T140500Z-0s", "../a-5s"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="it is not the name of a window"):
        parse(name)


@pytest.mark.parametrize(("seconds", "grace"), [(0, 0), (86_401, 0), (60, -1), (True, 0)])
def test_wrong_lengths_are_refused(seconds: int, grace: int) -> None:
    with pytest.raises(UsageError):
        Windows(seconds, grace)
