"""That a process that is asked to end can do what is left to do, and is as before afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from headrace.core.signals import Terminated, raise_on_sigterm


def test_a_signal_becomes_an_error_where_it_is_listened_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as raised, raise_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_status == 75
    assert str(raised.value) == "the run was terminated. Received: SIGTERM."
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_do_their_work_without_listening() -> None:
    done: list[bool] = []

    def work() -> None:
        with raise_on_sigterm():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
