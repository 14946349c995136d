"""Loading beside: a thread that loads a model leaves the interpreter and most of the CPU to those that answer."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

# By default a thread that computes keeps the interpreter for 5 ms against one that waits: longer than a call of a small
# model, for which a request needs the interpreter several times.
_SWITCH_S = 0.0005
_WORK_S = 0.0005
_REST_S = 0.0095
# A twentieth of the time, too, of a core that a thread of the usual priority wants.
_NICE = 13
# Calls and returns between two looks at the clock, some 10 microseconds: there are a million while a model of 1 MB
# loads, and a look at each of them takes as long as the load.
_EVENTS = 16
# Thresholds of garbage collections; Python's are 700, 10 and 10. The objects of some hundred requests under way, which
# are freed without a collection, are fewer than the first one. A full collection visits the loaded models, some 20 ms
# in which nobody is answered: one comes after 1.4 million objects that only a collection may free, and neither requests
# nor connections leave such ones behind.
_THRESHOLDS = 10_000, 10, 14
# Modules whose functions hold locks that those who answer need, too: of all executors, and of a log's handler.
_LOCKING = frozenset(function.__code__.co_filename for function in (ThreadPoolExecutor.submit, logging.Handler.handle))


class _ShortInterval:
    """The interpreter's switch interval, which is short while one thread or several ones load."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._loading:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _SWITCH_S))
            self._loading += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._loading -= 1
            if not self._loading:
                sys.setswitchinterval(self._before)


_SHORT_INTERVAL = _ShortInterval()


@contextmanager
def beside(
    busy: Callable[[], bool],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[None]:
    """Lets this thread work for a twentieth of the time while others are busy, in slices of half a millisecond.

    A lower priority would not do: where other processes use the cores too, a thread of low priority that holds the
    interpreter's lock stops all others. Here it sleeps without the lock, and not in a function of an executor or a log,
    which holds one. C code is not cut: see `at_low_priority`. Nothing is changed under a profiler.

    Args:
        busy: whether others are, at this moment.
        clock: of time, in seconds.
        sleep: waits so many seconds, or for less: until the others are not busy any more.
    """
    if sys.getprofile() is not None:
        yield
        return
    resumed = clock()
    left = _EVENTS

    def rest(frame: Any, _event: str, _argument: Any) -> None:
        nonlocal resumed, left
        left -= 1
        if left:
            return
        left = _EVENTS
        if clock() - resumed > _WORK_S and not _locks(frame):
            if busy():
                sleep(_REST_S)
            resumed = clock()

    with _SHORT_INTERVAL:
        # It is called where this thread, and no other, enters and leaves a function.
        sys.setprofile(rest)
        try:
            yield
        finally:
            sys.setprofile(None)


def at_low_priority(call: Callable[[], Result]) -> Result:
    """Returns what `call` returns, in a thread of low priority, where there are such threads.

    For long calls of C code that do not hold the interpreter's lock, and cannot be cut: see `beside`.
    """
    done: Future[Result] = Future()

    def work() -> None:
        if sys.platform == "linux":
            # The priority of a thread; elsewhere it is that of a process.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="load-beside", daemon=True).start()
    return done.result()


def _locks(frame: FrameType | None) -> bool:
    """Whether a function that holds a shared lock is among the callers."""
    while frame is not None:
        if frame.f_code.co_filename in _LOCKING:
            return True
        frame = frame.f_back
    return False


def freeze_imports() -> None:
    """Takes what TensorFlow's import made out of garbage collections: 270,000 objects that live with the process.

    A full collection that visits them stops all threads for 0.2 s. Models are loaded later and stay collectable: one
    that is switched away is freed, and a collection visits models alone.
    """
    from headrace.core.saved_model import loaded  # noqa: F401 - what it imports is frozen, too
    from headrace.core.tensorflow_import import import_tensorflow

    import_tensorflow()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
