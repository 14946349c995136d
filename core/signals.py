"""Termination signals: a process that receives SIGTERM, as from pipeline engines, first cancels its remote jobs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from headrace.core.errors import PlatformError


class Terminated(PlatformError):
    """The process received a termination signal. Exit 75."""


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raises Terminated when the process receives SIGTERM. Only the main thread can handle signals."""

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
        raise Terminated("the run was terminated", received=signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
