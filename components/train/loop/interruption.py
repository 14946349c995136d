"""SIGTERM handling: a spot machine or a cluster sends SIGTERM before it stops a process, which then saves its state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from headrace.core.errors import PlatformError
from headrace.core.signals import handling


class Interruption:
    """Whether this process received SIGTERM.

    Attributes:
        requested: whether a SIGTERM arrived. Code in a `deferred` block checks it between units of work.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A context in which SIGTERM only sets `requested`: the code in it checks that and saves its work.

        Raises:
            PlatformError: immediately, if a SIGTERM arrived before the block.
        """
        if self.requested:
            raise self.error()
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def error(self, *, where: str | None = None, fix: str | None = None) -> PlatformError:
        """The error of an interrupted training, with the command that resumes it.

        Args:
            where: the last step.
            fix: replaces the general advice if the state was saved.
        """
        return PlatformError(
            "SIGTERM ended the training",
            where=where,
            received="SIGTERM from a preempted machine, a cluster that scales down, or `kill`",
            fix=fix or "Start the same command again: it resumes from its last checkpoint if there is one",
        )

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        again, self.requested = self.requested, True
        # A second signal must not interrupt the cleanup after the first, such as the removal of a partial folder.
        if not self._deferred and not again:
            raise self.error()


@contextmanager
def watching() -> Iterator[Interruption]:
    """Handles SIGTERM within the block, and restores the previous handler after it.

    Outside `Interruption.deferred` a SIGTERM raises PlatformError (exit 75) at any point of the main thread. In any
    other thread Python delivers no signals, and this does nothing.
    """
    interruption = Interruption()
    with handling(interruption.handle, signal.SIGTERM):
        yield interruption
