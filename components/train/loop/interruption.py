"""SIGTERM, as a spot machine or a cluster sends it before it takes a machine away, made into an orderly end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from headrace.core.errors import PlatformError


class Interruption:
    """Whether this process was asked to end.

    Attributes:
        requested: a SIGTERM came. In a `deferred` block somebody looks at it at moments that suit the work.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a SIGTERM is only noted, since the block looks at `requested` and saves its work.

        Raises:
            PlatformError: at once, where one came before the block.
        """
        if self.requested:
            raise self.error()
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def error(self, *, where: str | None = None, fix: str | None = None) -> PlatformError:
        """The error that says so and how to go on.

        Args:
            where: how far training was.
            fix: what to do, where more than the beginning is kept.
        """
        return PlatformError(
            "SIGTERM ended the training",
            where=where,
            received="a preempted machine, a cluster that scales down, or `kill`",
            fix=fix or "Start the same command again: it goes on from its last checkpoint where there is one",
        )

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        again, self.requested = self.requested, True
        # A second one must not break into what the first one set going, such as the removal of a half-written folder.
        if not self._deferred and not again:
            raise self.error()


@contextmanager
def watching() -> Iterator[Interruption]:
    """Watches for SIGTERM within the block, and gives the handler that was there back.

    Outside `Interruption.deferred` a SIGTERM raises PlatformError (exit 75) wherever the main thread is. In any other
    thread, where Python takes no signals, nothing is watched.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = signal.signal(signal.SIGTERM, interruption.handle)
    try:
        yield interruption
    finally:
        # None stands for a handler that was not set from Python, and that Python cannot set again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
