"""A bound of memory for what a test runs in this process and in others that it starts."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_KIB = 1024


@contextmanager
def bounded_memory(limit: int) -> Iterator[None]:
    """Fails if the block takes more than `limit` bytes: more than this process had, or in a process that it waited for.

    Linux counts both: the peak of this process since the block began, whatever it had been before, and the largest of
    the processes that ended, with those that they waited for. One of these that is smaller than one before the block is
    not seen, so a larger one would have failed there.
    """
    # Sets the peak of this process to what it has now.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    own, others = _own_peak(), _children_peak()
    yield
    grown, largest = _own_peak() - own, _children_peak()
    assert grown <= limit, f"{grown >> 20:,} MiB more than before, of {limit >> 20:,} MiB"
    assert largest <= max(limit, others), f"a process of {largest >> 20:,} MiB, of {limit >> 20:,} MiB"


def _own_peak() -> int:
    """The largest size of this process in memory, in bytes, since it was last reset."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * _KIB


def _children_peak() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _KIB
