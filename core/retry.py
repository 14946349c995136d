"""Retry policy: calls that fail for a passing reason are made again, and nothing is created twice for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from headrace.core.errors import PlatformError

T = TypeVar("T")


class Transient(PlatformError):
    """The platform or the network failed, and may not the next time. Exit 75."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call that fails is made again.

    Attributes:
        first_s: maximum wait before the second attempt, in seconds; it doubles with each further one.
        max_s: maximum wait between two attempts, in seconds.
        total_s: seconds after which the last error stands.
        attempts: maximum number of attempts; None for as many as there is time for.
    """

    first_s: float = 1.0
    max_s: float = 30.0
    total_s: float = 180.0
    attempts: int | None = None


def backoff_seconds(
    attempts: int, chance: Callable[[], float] = random.random, *, first_s: float = 0.25, max_s: float = 30.0
) -> float:
    """Seconds to wait after `attempts` failed attempts, 1 or more: exponential back-off with full jitter.

    The method is that of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): clients that were refused
    together do not come back together.

    Args:
        attempts: that have failed.
        chance: a number from 0 up to 1.
        first_s: maximum wait after the first one, in seconds; it doubles with each further one.
        max_s: maximum of all waits, in seconds.
    """
    return chance() * min(max_s, first_s * 2.0 ** min(attempts - 1, 30))


def retry(
    call: Callable[[], T],
    policy: RetryPolicy,
    *,
    transient: tuple[type[Exception], ...] = (Transient,),
    wait: Callable[[float], object] | None = None,
) -> T:
    """What `call` returns, made again while it raises one of `transient`.

    Args:
        call: what to do.
        policy: how long.
        transient: errors after which another attempt may succeed.
        wait: waits so many seconds; by default the process sleeps.

    Raises:
        Exception: the last of these, when the policy's time or attempts are spent; any other one at once.
    """
    begin, attempts = monotonic(), 0
    while True:
        try:
            return call()
        except transient:
            attempts += 1
            pause = backoff_seconds(attempts, first_s=policy.first_s, max_s=policy.max_s)
            if attempts == policy.attempts or monotonic() - begin + pause > policy.total_s:
                raise
        (wait or sleep)(pause)


def create_once(create: Callable[[], T], find: Callable[[], T | None], policy: RetryPolicy) -> T:
    """What `create` creates, once: where its response was lost on the way, `find` finds what it created.

    Raises:
        Transient: the last one, when the policy's time is spent.
    """
    failed = False

    def once() -> T:
        nonlocal failed
        found = find() if failed else None
        failed = True
        return create() if found is None else found

    return retry(once, policy)
