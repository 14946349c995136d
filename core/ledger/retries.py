"""Retries of dynamic training: how often, and after what wait, a failed run is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from headrace.core.errors import UsageError


@dataclass(frozen=True)
class Retries:
    """When a failed run is tried again.

    Args:
        attempts: runs of a data version before it is given up.
        first: wait after the first failure; it doubles with each further one.
        longest: maximum wait.

    Raises:
        UsageError: fewer than one attempt, or a wait that is not positive.
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
        """The wait after so many failures in a row, 1 or more."""
        return min(self.longest, self.first * (1 << min(failures - 1, 30)))
