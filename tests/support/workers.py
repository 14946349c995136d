"""Number of test processes: as many as there are cores, and as their memory is enough for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# What a process needs that has imported TensorFlow, Beam and Google's clients, and trains a small model.
BYTES_PER_WORKER = 2_000_000_000
_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def number_of_workers(cores: int, available: int) -> int:
    """Processes for `cores` cores and `available` bytes of memory: at least one."""
    return max(1, min(cores, available // BYTES_PER_WORKER))


def available_bytes(host: int, cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Memory that this process may still use: that of the host, or less where a container or a job has a limit.

    Args:
        host: available memory of the host, in bytes.
        cgroups: where the kernel's control groups are mounted, of version 1 or 2.
        own: the file that names this process's groups.
    """
    return min([host, *_left(cgroups, own)])


def _left(cgroups: Path, own: Path) -> Iterator[int]:
    """What each limit of memory around this process leaves, in bytes."""
    if not own.exists():
        return
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounted, limit, usage = cgroups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mounted, limit, usage = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = mounted / path.strip("/")
        # In a container the path may be the host's, and the mount the container's own group.
        for folder in {mounted, group, *(one for one in group.parents if one.is_relative_to(mounted))}:
            found = [_bytes(folder / name) for name in (limit, usage)]
            if found[0] is not None and found[1] is not None:
                yield found[0] - found[1] + _cached(folder / "memory.stat")


def _bytes(file: Path) -> int | None:
    """A number of bytes; None where the file does not exist or says "max"."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def _cached(file: Path) -> int:
    """Pages of files, which count as used, and which the kernel gives back when memory is short."""
    text = file.read_text() if file.is_file() else ""
    found = re.search(r"^(?:total_)?inactive_file (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0
