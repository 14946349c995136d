"""Runs predictions off the event loop, so many at a time, and no longer than allowed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields

from headrace.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What one server takes on; beyond it, requests are refused at once.

    Args:
        max_body_bytes: of a request.
        max_instances: rows of a request.
        time_limit_s: for a request, from its first byte to its answer.
        max_running: predictions at a time; each uses TensorFlow's own threads.
        max_waiting: requests that wait for their turn beyond those.

    Raises:
        UsageError: a limit that is not positive.
    """

    max_body_bytes: int = 8 << 20
    max_instances: int = 10_000
    time_limit_s: float = 30.0
    max_running: int = 4
    max_waiting: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 or (value == 0 and field.name == "max_waiting")):
                raise UsageError(
                    f"{field.name} is wrong", where="Limits", expected="a positive number", received=repr(value)
                )


class Overloaded(Exception):
    """As many requests as allowed are here already."""


class Slot:
    """A request's place; it is given back when the request ends, or when its work does if that is later."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._work: Future[bytes] | None = None

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """Runs `work` in a thread. When this is cancelled, work that has begun goes on: a thread cannot be stopped."""
        self._work = self._engine.pool.submit(work)
        return await asyncio.wrap_future(self._work)

    def close(self) -> None:
        """Gives the place back once nothing runs in it."""
        if self._work is None:
            self._engine.places.release()
        else:
            self._work.add_done_callback(lambda _: self._engine.places.release())


class Engine:
    """The threads that predict, and the places for requests that wait for them.

    Args:
        limits: how many of each.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = ThreadPoolExecutor(limits.max_running, thread_name_prefix="predict")
        self.places = threading.BoundedSemaphore(limits.max_running + limits.max_waiting)

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """A place for one request.

        Raises:
            Overloaded: there is none.
        """
        if not self.places.acquire(blocking=False):
            raise Overloaded
        slot = Slot(self)
        try:
            yield slot
        finally:
            slot.close()

    def close(self) -> None:
        """Drops what waits; what runs goes on."""
        self.pool.shutdown(wait=False, cancel_futures=True)
