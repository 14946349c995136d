"""When requests may go: a budget per second, and how long to wait before one is tried again."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

# What a server may ask for, at most.
_MOST_ASKED_SECONDS = 600.0


class TokenBucket:
    """Says when each request may go: so many a second, and up to a second's worth at once after a pause.

    Safe to use from several threads at a time.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts full.

        Args:
            per_second: requests; 0 for as many as there can be.
            clock: seconds that have passed since any moment.
        """
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._clock = clock
        self._at = clock()
        self._closed_until = self._at
        self._lock = threading.Lock()

    def take(self) -> float:
        """Takes a turn, and says in how many seconds it comes. Turns come in the order in which they are taken."""
        with self._lock:
            now = self._clock()
            wait = self._closed_until - now
            if self._rate:
                self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
                self._at = now
                # A debt is a place in the queue.
                self._tokens -= 1.0
                wait = max(wait, -self._tokens / self._rate)
            return max(0.0, wait)

    def close(self, seconds: float) -> None:
        """Lets no turn come for so many seconds: who is asked to wait waits with all requests."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)


def asked_seconds(retry_after: str | None, now: Callable[[], float] = time.time) -> float:
    """Seconds that a Retry-After header asks to wait, to 600; 0 where it is missing or says nothing.

    Args:
        retry_after: the header's value: seconds, or a date.
        now: seconds since 1970.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _MOST_ASKED_SECONDS)
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=datetime.UTC)
        seconds = at.timestamp() - now()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MOST_ASKED_SECONDS)
