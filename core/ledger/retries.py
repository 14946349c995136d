"""Retries of dynamic training: the number of attempts of a run, and the wait between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from headrace.core.errors import UsageError


@dataclass(frozen=True)
class Retries:
    """Retry policy of failed runs, with exponential backoff.

    Args:
        attempts: failed runs of a data version after which it is given up, 1 or more.
        first: wait after the first failure; it doubles with each further failure.
        longest: maximum wait, not below `first`.

    Raises:
        UsageError: `attempts` is below 1, `first` is not positive, or `longest` is below `first`.
    """

    attempts: int = 5
    first: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.attempts < 1 or not timedelta(0) < self.first <= self.longest:
            raise UsageError(
                "the retries are not valid",
                expected="one attempt or more, and a first wait above 0 and not above the longest",
                received=repr(self),
            )

    def wait(self, failures: int) -> timedelta:
        """The wait after a number of consecutive failures, 1 or more."""
        return min(self.longest, self.first * (1 << min(failures - 1, 30)))
