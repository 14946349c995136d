"""Thread stages: overlaps the stages of a stream, each in a thread, with a short queue between two stages."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def ahead(items: Iterable[Item], waiting: int) -> Generator[Item, None, None]:
    """The items, produced by a separate thread that is at most `waiting` items ahead.

    An error of the producer is raised in the consumer. The producer ends when the consumer closes this generator.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(waiting)
    stopped = threading.Event()

    def put(item: Item | _End) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        error: BaseException | None = None
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    break
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        put(_End(error))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


def in_order(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """The results of `work` on each item, in the items' order, on a number of threads."""
    if threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="score") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                # One more than the number of threads, so that no thread waits for the consumer.
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
