"""Windows: the order of names, days, and which version of a span counts."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.ingest.window import Verdict, Window, day_of, span_order
from headrace.core.errors import UsageError


def chosen(window: Window, **spans: str) -> list[str]:
    """The spans of a window. Each span is its versions, newest first: a(ccepted), q(uarantined), e(mpty)."""
    verdicts: dict[str, Verdict] = {"a": "accepted", "q": "quarantined", "e": "empty"}
    named = {name.replace("d", "2026-01-"): versions for name, versions in spans.items()}
    found = window.chosen(named, lambda span: list(enumerate(named[span])), lambda version: verdicts[version[1]])
    return [f"{span[-2:]}/{number}" for span, (number, _) in found]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(), ["01/0", "02/0", "04/1", "09/0"]),
        (Window(last_spans=2), ["04/1", "09/0"]),
        (Window(last_days=8), ["02/0", "04/1", "09/0"]),
        (Window(last_days=7), ["04/1", "09/0"]),
        (Window(last_days=1), ["09/0"]),
    ],
)
def test_the_newest_spans(window: Window, expected: list[str]) -> None:
    # Day 3 is quarantined, day 4 has a bad correction, and day 5 was corrected to have no rows.
    assert chosen(window, d01="a", d02="aq", d03="qq", d04="qa", d05="ea", d09="aa", d10="q") == expected


def test_a_day_without_rows_counts_as_a_day() -> None:
    assert chosen(Window(last_days=2), d01="a", d02="a", d03="e") == ["02/0"]
    assert chosen(Window(last_spans=2), d01="a", d02="a", d03="e") == ["01/0", "02/0"]


def test_only_what_may_be_in_the_window_is_judged() -> None:
    judged: list[str] = []

    def judge(version: str) -> Verdict:
        judged.append(version)
        return "accepted"

    Window(last_spans=1).chosen(["1", "2", "10"], lambda span: [f"{span}b", f"{span}a"], judge)
    assert judged == ["10b"]


def test_digits_count_as_numbers() -> None:
    names = ["10", "9", "2026-01-02T05", "2026-01-02", "w2", "w10", "2026-01-02T23", "007", "7"]
    assert sorted(names, key=span_order) == [
        *("007", "7", "9", "10", "2026-01-02", "2026-01-02T05", "2026-01-02T23", "w2", "w10")
    ]


NAMES = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,8}", fullmatch=True)


@given(st.lists(NAMES, unique=True))
def test_the_order_is_total(names: list[str]) -> None:
    ordered = sorted(names, key=span_order)
    assert sorted(ordered, key=span_order, reverse=True) == ordered[::-1]
    assert len({repr(span_order(name)) for name in names}) == len(names)


@pytest.mark.parametrize(("span", "day"), [("2026-01-31", date(2026, 1, 31)), ("2026-02-01T05", date(2026, 2, 1))])
def test_days(span: str, day: date) -> None:
    assert day_of(span) == day


@pytest.mark.parametrize("span", ["17", "2026-02-30", "2026-01", "2026-01-011", "x2026-01-01"])
def test_names_without_a_day(span: str) -> None:
    Window(last_spans=3).check(span)
    with pytest.raises(UsageError, match="the span has no day"):
        Window(last_days=3).check(span)


@pytest.mark.parametrize("limits", [{"last_spans": -1}, {"last_days": True}, {"last_spans": 1, "last_days": 1}])
def test_windows_that_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"is not valid|two limits"):
        Window(**limits)
