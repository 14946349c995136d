"""When requests may go."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headrace.components.score.endpoint.pacing import TokenBucket, asked_seconds


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_second_s_worth_goes_at_once_and_then_one_by_one() -> None:
    bucket = TokenBucket(4.0, Clock())
    assert [bucket.take() for _ in range(8)] == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0]


def test_time_that_passes_fills_the_bucket_to_a_second_s_worth() -> None:
    clock = Clock()
    bucket = TokenBucket(4.0, clock)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0]
    clock.now += 0.5
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.25]
    clock.now += 3600
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_a_budget_below_one_a_second() -> None:
    bucket = TokenBucket(0.5, Clock())
    assert [bucket.take() for _ in range(3)] == [0, 2.0, 4.0]


def test_no_budget_lets_all_go() -> None:
    bucket = TokenBucket(0.0, Clock())
    assert [bucket.take() for _ in range(1000)] == [0.0] * 1000


@pytest.mark.parametrize("rate", [0.0, 4.0])
def test_a_bucket_that_is_closed_lets_nobody_go_before_it_opens(rate: float) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock)
    bucket.close(3.0)
    bucket.close(1.0)
    assert [bucket.take(), bucket.take()] == [3.0, 3.0]
    clock.now += 2.5
    assert bucket.take() == 0.5
    clock.now += 0.5
    assert bucket.take() == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("3", 3.0),
        (" 120 ", 120.0),
        ("1000000", 600.0),
        ("9" * 400, 600.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("²", 0.0),
        ("soon", 0.0),
        ("Thu, 01 Jan 1970 00:16:45 GMT", 5.0),
        ("Thu, 01 Jan 1970 00:16:45 -0000", 5.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", 600.0),
        ("Fri, 99 Jan 2021 00:00:00 GMT", 0.0),
    ],
)
def test_what_a_server_asks_for(header: str | None, seconds: float) -> None:
    """A date is compared with the server's own clock, which is decades behind that of this machine."""
    assert asked_seconds(header, "Thu, 01 Jan 1970 00:16:40 GMT") == seconds


@pytest.mark.parametrize("date", [None, "", "today"])
def test_a_date_is_compared_with_the_clock_of_this_machine_where_the_server_names_none(date: str | None) -> None:
    assert asked_seconds("Thu, 01 Jan 1970 00:16:45 GMT", date) == 0.0
    assert asked_seconds("Fri, 01 Jan 9999 00:00:00 GMT", date) == 600.0
