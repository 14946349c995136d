"""Asking a platform again after what a retry may mend, and never making a thing twice for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from headrace.core.errors import PlatformError

T = TypeVar("T")


class Transient(PlatformError):
    """The platform or the way to it failed, and may not the next time. Exit 75."""


@dataclass(frozen=True)
class Patience:
    """How long a platform that fails is asked again.

    Attributes:
        first_s: seconds until it is asked for the second time; from then on twice as long each time, within chance.
        most_s: seconds between two requests at most.
        total_s: seconds after which its last answer stands.
    """

    first_s: float = 1.0
    most_s: float = 30.0
    total_s: float = 180.0


def asking(ask: Callable[[], T], patience: Patience) -> T:
    """What `ask` returns, asked again while it raises Transient.

    Raises:
        Transient: the last one, when patience has ended.
    """
    begin, wait = monotonic(), patience.first_s
    while True:
        try:
            return ask()
        except Transient:
            if monotonic() - begin + wait > patience.total_s:
                raise
        # Many who were refused together must not come back together.
        sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
        wait = min(2 * wait, patience.most_s)


def making(make: Callable[[], T], find: Callable[[], T | None], patience: Patience) -> T:
    """What `make` makes, made once: an answer that was lost on the way leaves a thing, which `find` then finds.

    Raises:
        Transient: the last one, when patience has ended.
    """
    failed = False

    def once() -> T:
        nonlocal failed
        found = find() if failed else None
        failed = True
        return make() if found is None else found

    return asking(once, patience)
