"""Retry policy: what is tried again, for how long, and what is created once."""

from __future__ import annotations

import pytest

from headrace.core import retry as module
from headrace.core.retry import RetryPolicy, Transient, backoff_seconds, create_once, retry


def test_back_off_doubles_up_to_half_a_minute_and_jitters_over_all_of_it() -> None:
    assert [backoff_seconds(tries, lambda: 1.0) for tries in (1, 2, 3, 7, 8, 9, 1000)] == [
        0.25, 0.5, 1.0, 16.0, 30.0, 30.0, 30.0,
    ]  # fmt: skip
    assert backoff_seconds(3, lambda: 0.25) == 0.25
    assert backoff_seconds(3, lambda: 0.0) == 0.0
    assert all(0 <= backoff_seconds(2) <= 0.5 for _ in range(100))


class Service:
    """Fails so many times, then answers; counts its calls."""

    def __init__(self, failures: int, error: type[Exception] = Transient) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error("not now")
        return "done"


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which take no time; jitter is at its maximum."""
    found: list[float] = []
    monkeypatch.setattr(module, "sleep", found.append)
    monkeypatch.setattr(module, "monotonic", lambda: sum(found))
    monkeypatch.setattr(
        module, "backoff_seconds", lambda attempts, **of: min(of["max_s"], of["first_s"] * 2 ** (attempts - 1))
    )
    return found


def test_a_passing_failure_is_tried_again(waited: list[float]) -> None:
    service = Service(3)
    assert retry(service, RetryPolicy(first_s=1.0, max_s=2.0)) == "done"
    assert (service.calls, waited) == (4, [1.0, 2.0, 2.0])


def test_the_last_error_stands_when_the_time_is_spent(waited: list[float]) -> None:
    with pytest.raises(Transient):
        retry(Service(1000), RetryPolicy(first_s=1.0, max_s=2.0, total_s=6.0))
    assert waited == [1.0, 2.0, 2.0]


def test_the_last_error_stands_when_the_attempts_are_spent(waited: list[float]) -> None:
    service = Service(1000)
    with pytest.raises(Transient):
        retry(service, RetryPolicy(attempts=3))
    assert service.calls == 3


def test_another_error_is_raised_at_once(waited: list[float]) -> None:
    service = Service(1, ValueError)
    with pytest.raises(ValueError, match="not now"):
        retry(service, RetryPolicy())
    assert (service.calls, waited) == (1, [])


def test_what_was_created_before_its_response_was_lost_is_found(waited: list[float]) -> None:
    made: list[str] = []

    def create() -> str:
        made.append("it")
        raise Transient("the response was lost")

    assert create_once(create, lambda: made[0] if made else None, RetryPolicy()) == "it"
    assert made == ["it"]
