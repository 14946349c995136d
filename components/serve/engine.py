"""Prediction threads: run predictions off the event loop, bounded in number and time."""

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
    """Limits of one server; requests beyond them are rejected at once.

    Args:
        max_body_bytes: maximum size of a request's body.
        max_instances: maximum rows per request.
        time_limit_s: maximum time from a request's first byte to its response, in seconds.
        max_running: maximum predictions at a time; each uses TensorFlow's own threads.
        max_waiting: maximum requests that wait in addition.

    Raises:
        UsageError: a limit is not positive.
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
    """The maximum number of waiting requests is reached."""


class Slot:
    """A slot of a request; it is released when the request ends, or when its work ends if that is later."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._work: Future[bytes] | None = None

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """Runs `work` in a thread. Cancellation does not stop work that has begun: a thread cannot be stopped."""
        self._work = self._engine.pool.submit(work)
        return await asyncio.wrap_future(self._work)

    def close(self) -> None:
        """Releases the slot once its work has ended."""
        if self._work is None:
            self._engine.places.release()
        else:
            self._work.add_done_callback(lambda _: self._engine.places.release())


class Engine:
    """The threads that predict, and the slots of running and waiting requests.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = ThreadPoolExecutor(limits.max_running, thread_name_prefix="predict")
        self.places = threading.BoundedSemaphore(limits.max_running + limits.max_waiting)

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """Acquires a slot for one request.

        Raises:
            Overloaded: no slot is free.
        """
        if not self.places.acquire(blocking=False):
            raise Overloaded
        slot = Slot(self)
        try:
            yield slot
        finally:
            slot.close()

    def close(self) -> None:
        """Drops waiting work; running work continues."""
        self.pool.shutdown(wait=False, cancel_futures=True)
