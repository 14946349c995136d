"""Retry policy for a platform's requests, with creation that is never repeated by a retry."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from headrace.core.errors import PlatformError

T = TypeVar("T")


class Transient(PlatformError):
    """The platform or the network failed, and a retry may succeed. Exit 75."""


@dataclass(frozen=True)
class Patience:
    """Retry policy with exponential backoff.

    Attributes:
        first_s: seconds before the first retry; doubled for each further one, with jitter.
        most_s: maximum seconds between two requests.
        total_s: seconds after which the last error is raised.
    """

    first_s: float = 1.0
    most_s: float = 30.0
    total_s: float = 180.0


def asking(ask: Callable[[], T], patience: Patience) -> T:
    """Calls `ask`, and retries it while it raises Transient.

    Raises:
        Transient: the last error, when the policy gives up.
    """
    begin, wait = monotonic(), patience.first_s
    while True:
        try:
            return ask()
        except Transient:
            if monotonic() - begin + wait > patience.total_s:
                raise
        # Jitter: clients that were rejected together must not retry together.
        sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
        wait = min(2 * wait, patience.most_s)


def making(make: Callable[[], T], find: Callable[[], T | None], patience: Patience) -> T:
    """Creates a resource once: after a lost response the resource exists, and `find` finds it.

    Raises:
        Transient: the last error, when the policy gives up.
    """
    failed = False

    def once() -> T:
        nonlocal failed
        found = find() if failed else None
        failed = True
        return make() if found is None else found

    return asking(once, patience)
