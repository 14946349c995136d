from __future__ import annotations

import os
import signal
import threading

import pytest

from headrace.components.train.loop import interruption
from headrace.core.errors import PlatformError


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_raises_where_nobody_looks() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PlatformError, match="SIGTERM ended the training") as caught, interruption.watching():
        terminate()
    assert caught.value.exit_status == 75
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_only_noted_while_it_is_deferred() -> None:
    with interruption.watching() as signals, signals.deferred():
        assert not signals.requested
        terminate()
        assert signals.requested
    assert signal.getsignal(signal.SIGTERM) is not signals.handle


def test_one_that_came_before_ends_it_at_once() -> None:
    signals = interruption.Interruption()
    signals.requested = True
    with pytest.raises(PlatformError), signals.deferred():
        pytest.fail("it went on")


def test_a_second_one_does_not_break_into_the_end() -> None:
    cleaned = []
    with pytest.raises(PlatformError), interruption.watching():
        try:
            terminate()
        finally:
            terminate()
            cleaned.append(True)
    assert cleaned == [True]


def test_the_error_says_how_to_go_on() -> None:
    error = interruption.Interruption().error(where="step 3 of 9", fix="Start it again")
    assert error.paragraph == (
        "step 3 of 9: SIGTERM ended the training. Received: SIGTERM from a preempted machine, "
        "a cluster that scales down, or "
        "`kill`. Start it again."
    )


def test_another_thread_watches_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with interruption.watching() as signals:
            seen.append((signals.requested, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
