"""Server announcements: each running server describes itself in a file, by which it is found later."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import DataError

MODULE = "headrace.components.serve.server"


@dataclass(frozen=True)
class Announcement:
    """Description of a running server.

    Attributes:
        pid: its process id.
        started: start time of the process as reported by the system, which distinguishes a reused pid.
        version: of the model that it serves.
        url: of the server, once the model is loaded; None before.
    """

    pid: int
    started: str
    version: str
    url: str | None


def announce(folder: str, version: str, url: str | None) -> None:
    """Writes `PID.json` for this process."""
    pid = os.getpid()
    storage.write_json(_uri(folder, pid), {"pid": pid, "started": _started(pid) or "", "version": version, "url": url})


def withdraw(folder: str, pid: int) -> None:
    """Removes `PID.json`."""
    storage.local_path(_uri(folder, pid)).unlink(missing_ok=True)


def read(folder: str, pid: int) -> Announcement | None:
    """The announcement of the server `pid`, or None if there is none, or the server does not run."""
    try:
        content = storage.read_json(_uri(folder, pid))
        found = Announcement(int(content["pid"]), str(content["started"]), str(content["version"]), content["url"])
    except (DataError, KeyError, TypeError, ValueError):
        return None
    return found if runs(found) else None


def running(folder: str) -> list[Announcement]:
    """The announced servers that run; announcements of dead ones are removed."""
    path = storage.local_path(folder)
    found = []
    for entry in sorted(path.glob("*.json")) if path.is_dir() else []:
        announcement = read(folder, int(entry.stem)) if entry.stem.isdigit() else None
        if announcement is None:
            entry.unlink(missing_ok=True)
        else:
            found.append(announcement)
    return found


def newest(folder: str, servers: Iterable[Announcement]) -> Announcement | None:
    """The server that was started last; None of none.

    Ticks since the boot are an order that no clock changes. Systems without them have the files' times.
    """

    def order(server: Announcement) -> tuple[int, float]:
        ticks = int(server.started) if server.started.isdigit() else 0
        try:
            written = storage.local_path(_uri(folder, server.pid)).stat().st_mtime
        except OSError:
            written = 0.0
        return ticks, written

    return max(servers, key=order, default=None)


def runs(server: Announcement) -> bool:
    """Whether the process of an announcement still runs, and is not another one with the same pid."""
    return _started(server.pid) == server.started and MODULE in _command(server.pid)


def _uri(folder: str, pid: int) -> str:
    return storage.join(folder, f"{pid}.json")


def _started(pid: int) -> str | None:
    """Start time of a process: clock ticks since boot on Linux, a date elsewhere; None if it does not run."""
    if Path("/proc/self/stat").exists():
        try:
            # The command's name, in brackets, may contain spaces and brackets itself.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        # Fields 3 and 22 of proc(5): a zombie has exited, and waits for its parent.
        return None if fields[0] in "ZX" else fields[19]
    return _ps(pid, "lstart=") or None


def _command(pid: int) -> str:
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    return _ps(pid, "command=")


def _ps(pid: int, column: str) -> str:
    # POSIX's ps, for systems without /proc.
    answer = subprocess.run(["ps", "-ww", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return answer.stdout.strip()
