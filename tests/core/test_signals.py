"""That a process that is asked to end can do what is left to do, and is as before afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from headrace.core.signals import Terminated, forwarding_sigterm, raise_on_sigterm, stop_on_signals


def test_a_signal_becomes_an_error_where_it_is_listened_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as raised, raise_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_status == 75
    assert str(raised.value) == (
        "the run was terminated. Received: SIGTERM. Run the same command again; finished steps are not repeated."
    )
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_does_not_interrupt_what_the_first_one_began() -> None:
    with pytest.raises(Terminated), raise_on_sigterm():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("early", [False, True], ids=["during the work", "before it"])
def test_a_signal_is_passed_on_once_to_the_process_at_work(early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    before = signal.getsignal(signal.SIGTERM)
    with forwarding_sigterm() as forwarding:
        forwarding.begin(10)
        forwarding.end()
        monkeypatch.setattr("headrace.core.signals.os.kill", lambda *call: sent.append(call))
        if early:
            signal.raise_signal(signal.SIGTERM)
            assert forwarding.received
            assert sent == []
        forwarding.begin(11)
        if not early:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert sent == [(11, signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_do_their_work_without_listening() -> None:
    done: list[bool] = []

    def work() -> None:
        with raise_on_sigterm(), forwarding_sigterm():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_an_event_as_often_as_it_comes(number: signal.Signals) -> None:
    before, stop = signal.getsignal(number), threading.Event()
    with stop_on_signals(stop):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert stop.is_set()
    assert signal.getsignal(number) is before
