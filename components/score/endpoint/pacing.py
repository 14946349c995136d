"""Rate limit of requests, and the delay before a retry."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

# Maximum delay that a server may request, in seconds.
_MOST_ASKED_SECONDS = 600.0


class TokenBucket:
    """Token bucket: limits requests per second, with bursts of up to one second's requests after a pause.

    Safe to use from several threads at a time.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts full.

        Args:
            per_second: maximum requests per second; 0 for no limit.
            clock: seconds from any origin.
        """
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._clock = clock
        self._at = clock()
        self._closed_until = self._at
        self._lock = threading.Lock()

    def take(self) -> float:
        """Reserves a request; returns the seconds to wait before it. Requests are sent in the order of reservation."""
        with self._lock:
            now = self._clock()
            wait = self._closed_until - now
            if self._rate:
                self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
                self._at = now
                # A negative balance is a position in the queue.
                self._tokens -= 1.0
                wait = max(wait, -self._tokens / self._rate)
            return max(0.0, wait)

    def close(self, seconds: float) -> None:
        """Delays all requests by a number of seconds, after a server requested a delay."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)


def asked_seconds(retry_after: str | None, date: str | None) -> float:
    """The delay of a Retry-After header in seconds, at most 600; 0 if the header is missing or not valid.

    Args:
        retry_after: the header's value: seconds, or a date.
        date: the Date header of the same response, which a date is compared with: the server's clock may be another
            one. None for the clock of this machine.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _MOST_ASKED_SECONDS)
    at, now = _seconds(text), _seconds((date or "").strip())
    if at is None:
        return 0.0
    return min(max(0.0, at - (time.time() if now is None else now)), _MOST_ASKED_SECONDS)


def _seconds(text: str) -> float | None:
    """A date of HTTP in seconds since 1970; None if it is not valid."""
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=datetime.UTC)
        return at.timestamp()
    except (ValueError, OverflowError):
        return None
