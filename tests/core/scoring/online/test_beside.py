"""Loading beside those who answer: by a clock of the test, so that a busy machine changes nothing."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from headrace.core.scoring.online.beside import at_low_priority, beside


def step() -> None:
    """A function whose call and return are looked at."""


def clock(step_s: float) -> Iterator[float]:
    """Times that are `step_s` seconds apart."""
    return (number * step_s for number in count())


@pytest.mark.parametrize("busy", [True, False])
def test_it_rests_nearly_all_of_the_time_while_others_are_busy(busy: bool) -> None:
    # The clock is read once per sixteen events and once after each rest: a tenth of a millisecond of work each.
    times, slept = clock(0.0001), list[float]()
    with beside(lambda: busy, clock=lambda: next(times), sleep=slept.append):
        for _ in range(9600):
            step()
    worked = next(times)
    assert sum(slept) == pytest.approx(0.95 * (worked + sum(slept)), rel=0.05) if busy else not slept


class Slow(logging.Handler):
    """A handler that calls many functions for a record, and holds its lock meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is threading.main_thread():
            for _ in range(100):
                step()


@pytest.mark.parametrize("of", ["executor", "log"])
def test_it_does_not_rest_with_a_lock_that_others_need(of: str) -> None:
    """The lock of all executors, which a server needs for each batch, or that of a log's handler."""
    log = logging.Logger("beside")
    log.addHandler(Slow())
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as others_pool:
        act: dict[str, Callable[[ThreadPoolExecutor], object]] = {
            "executor": lambda pool: pool.submit(step),
            "log": lambda _: log.warning("loading"),
        }
        answered = []

        def sleep(_: float) -> None:
            other = threading.Thread(target=act[of], args=(others_pool,), daemon=True)
            other.start()
            other.join(10 if all(answered) else 0)
            answered.append(not other.is_alive())

        times = clock(0.001)
        with beside(lambda: True, clock=lambda: next(times), sleep=sleep):
            for _ in range(100):
                act[of](pool)
                step()
    assert len(answered) > 10
    assert all(answered)


def test_others_wait_for_the_interpreter_for_half_a_millisecond_at_most() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), beside(lambda: True):
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        raise KeyError
    assert sys.getswitchinterval() == before
    assert sys.getprofile() is None


def test_models_that_load_at_one_time_leave_the_interval_as_it_was() -> None:
    before = sys.getswitchinterval()
    one, other = beside(lambda: True), beside(lambda: True)
    started, ended = threading.Event(), threading.Event()

    def load() -> None:
        with one:
            started.set()
            ended.wait(600)

    thread = threading.Thread(target=load)
    thread.start()
    started.wait(600)
    with other:
        ended.set()
        thread.join(600)
        # The first one has ended before the second one.
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == before


def test_a_profiler_stays() -> None:
    def profiler(*_: object) -> None: ...

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        with beside(lambda: True):
            assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_a_call_at_low_priority_is_in_a_thread_of_its_own() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert at_low_priority(priority) == max(before, 13)
    assert priority() == before


def test_a_call_at_low_priority_fails_as_any_other() -> None:
    with pytest.raises(ZeroDivisionError):
        at_low_priority(lambda: 1 // 0)
