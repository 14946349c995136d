"""Termination signals: a process that receives SIGTERM first cancels its remote jobs, or passes it on to its step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from headrace.core.errors import PlatformError

Handler = Callable[[int, FrameType | None], object]


class Terminated(PlatformError):
    """The process received a termination signal. Exit 75."""

    @classmethod
    def by(cls, number: int) -> Terminated:
        """The error for a signal."""
        return cls(
            "the run was terminated",
            received=signal.Signals(number).name,
            fix="Run the same command again; finished steps are not repeated",
        )


@contextlib.contextmanager
def handling(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Handles signals within the block, and restores the previous handlers. Only the main thread can handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            # None stands for a handler that was not set from Python, which Python cannot restore.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def end_at_sigterm() -> None:
    """Ends the process at SIGTERM with one line on stderr and the status of Terminated, where nothing else handles it.

    Nothing is raised: a signal arrives also while modules are imported, and many handle exceptions of their imports.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
        try:
            os.write(2, f"headrace: {Terminated.by(number).text}\n".encode())
        finally:
            # Also where nobody reads stderr any more.
            os._exit(Terminated.exit_status)

    signal.signal(signal.SIGTERM, end)


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raises Terminated when the process receives SIGTERM, once. Only the main thread can handle signals."""

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
        # A second signal, as to a whole process group, would interrupt what the first one has begun to tidy up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated.by(number)

    with handling(end, signal.SIGTERM):
        yield


class SignalForwarder:
    """Passes this process's SIGTERM on to the process at work, which saves its state and ends with its own status.

    Attributes:
        received: whether a SIGTERM arrived.
    """

    def __init__(self) -> None:
        self.received = False
        self._target: int | None = None

    def begin(self, pid: int) -> None:
        """Names the process at work; a SIGTERM that arrived before it is passed on now."""
        self._target = pid
        if self.received:
            self._send()

    def end(self) -> None:
        """No process is at work."""
        self._target = None

    def _send(self) -> None:
        if self._target is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._target, signal.SIGTERM)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = True
            self._send()


@contextlib.contextmanager
def forwarding_sigterm() -> Iterator[SignalForwarder]:
    """Forwards SIGTERM within the block. Only the main thread can handle signals."""
    forwarding = SignalForwarder()
    with handling(forwarding._receive, signal.SIGTERM):
        yield forwarding


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Sets the event on SIGTERM and SIGINT within the block. Only the main thread can handle signals."""
    with handling(lambda *_: stop.set(), signal.SIGTERM, signal.SIGINT):
        yield
