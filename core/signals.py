"""Lets a process that is asked to end (SIGTERM, as pipeline engines do) cancel what it started elsewhere first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from headrace.core.errors import PlatformError


class Terminated(PlatformError):
    """The process was asked to end. Exit 75."""


@contextlib.contextmanager
def told_to_end() -> Iterator[None]:
    """Raises Terminated where the process is asked to end. Only the main thread can listen to that."""

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
        raise Terminated("the run was asked to end", received=signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
