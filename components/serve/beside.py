"""Loading beside: a thread that loads a model leaves the interpreter and most of the CPU to those that answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# By default a thread that computes keeps the interpreter for 5 ms against one that waits: longer than a call of a small
# model, for which a request needs the interpreter several times.
_SWITCH_S = 0.0005
_WORK_S = 0.0005
_REST_S = 0.0095


@contextmanager
def beside(
    busy: Callable[[], bool],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Lets this thread work for a twentieth of the time while others are busy, in slices of half a millisecond.

    A lower priority would not do: where other processes use the cores too, a thread of low priority that holds the
    interpreter's lock stops all others. Here it sleeps without the lock. TensorFlow's own calls are not cut, and
    nothing is changed under a profiler.

    Args:
        busy: whether others are, at this moment.
        clock, sleep: of time, in seconds.
    """
    if sys.getprofile() is not None:
        yield
        return
    resumed = clock()

    def rest(*_: Any) -> None:
        nonlocal resumed
        if clock() - resumed > _WORK_S:
            if busy():
                sleep(_REST_S)
            resumed = clock()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH_S))
    # It is called where this thread, and no other, enters and leaves a function.
    sys.setprofile(rest)
    try:
        yield
    finally:
        sys.setprofile(None)
        sys.setswitchinterval(interval)
