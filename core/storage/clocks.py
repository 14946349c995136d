"""Clocks that two processes can compare, whatever the clocks of their machines are set to.

A `Moment` is one of a machine's monotonic clock, which setting the time does not change, for processes of a machine.
`store_clock` is that of the store, or the file server, which several machines write to.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from headrace.core import storage
from headrace.core.storage.remote import is_remote, store_of
from headrace.core.storage.remote.probes import clock, probe_name
from headrace.core.storage.remote.uploads import visible_processes


@dataclass(frozen=True)
class Moment:
    """A moment, by the monotonic clock of a machine.

    Attributes:
        machine: stands for the processes that can compare it: of a machine since its start, or of a container of it.
        at: the time of the clock, in seconds from any origin.
    """

    machine: str
    at: float

    @staticmethod
    def now(after_s: float = 0.0) -> Moment:
        """The present moment, or the one that is some seconds later."""
        return Moment(visible_processes(), monotonic() + after_s)

    def passed_s(self) -> float | None:
        """Seconds since the moment, negative before it; None where it is one of another machine."""
        return monotonic() - self.at if self.machine == visible_processes() else None


def store_clock(folder: str) -> float:
    """The time by the clock of the store or the file system that a folder is in, in seconds since 1970.

    Args:
        folder: an existing folder, or a URI, where a file can be written and removed.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: a folder on a disk does not exist, or the disk or the service failed.
    """
    if is_remote(folder):
        return clock(store_of(folder), folder)
    path = storage.local_path(folder) / probe_name()
    with storage.writing(folder):
        path.touch(exist_ok=False)
        try:
            return path.stat().st_mtime
        finally:
            path.unlink()
