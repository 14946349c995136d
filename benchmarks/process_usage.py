"""What a command and the processes under it take: wall time, CPU time, memory."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent

# Linux's prctl: orphans below this process become its children, as those of init otherwise.
_PR_SET_CHILD_SUBREAPER = 36
_SAMPLES_PER_SECOND = 20
# Looking for new processes reads all of /proc.
_SEARCHES_PER_SECOND = 5
# Reading proportional set sizes walks page tables, so it may take this share of the time at most.
_PSS_SHARE = 0.05


@dataclass(frozen=True)
class Usage:
    """What a command and the processes under it took.

    Attributes:
        wall_seconds: from its start to its end.
        cpu_seconds: user and system time of all its processes.
        peak_rss_bytes: the greatest sum, at one time, of the processes' resident set sizes. Pages that several of
            them share are counted for each, so a command of several processes can only look worse than it is.
        peak_pss_bytes: the same of proportional set sizes: a page that several processes share is counted once.
            Neighbours outside the tree that map the same libraries make it smaller.
        largest_process_bytes: the greatest resident set size of any one process.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    peak_pss_bytes: int
    largest_process_bytes: int


class CommandFailed(RuntimeError):
    """A command that was to be measured failed or took too long."""


def measure(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, timeout_s: float = 1200
) -> Usage:
    """Runs a command to its end and watches its process tree, 20 times a second.

    Processes that it leaves running (a server) count until its end, and are not stopped.

    Args:
        command: the program and its arguments.
        log: file for what it writes.
        env: the environment, or None for this process' own.
        timeout_s: seconds until it is killed.

    Raises:
        CommandFailed: it exited with another status than 0, or not in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    _adopt_orphans()
    with log.open("wb") as output:
        begin = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=REPOSITORY
        )
        tree = _Tree(psutil.Process(running.pid))
        try:
            while running.poll() is None:
                if time.monotonic() - begin > timeout_s:
                    raise CommandFailed(f"{named(command)} took longer than {timeout_s:.0f} s; see {log}")
                tree.sample()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(1 / _SAMPLES_PER_SECOND)
            wall = time.monotonic() - begin
        except BaseException:
            tree.kill()
            running.wait()
            raise
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if running.returncode != 0:
        tail = log.read_text(errors="replace")[-2000:]
        tree.kill()
        raise CommandFailed(f"{named(command)} exited with {running.returncode}; the end of {log}:\n{tail}")
    # What the command waited for is in rusage; what it left running is not, nor are descendants that nobody waited for.
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(wall, waited + tree.cpu_of_survivors(), tree.peak_rss, tree.peak_pss, tree.largest)


def _adopt_orphans() -> None:
    """Has daemons of a command, whose parents end at once, become children of this process, so that they are found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _Tree:
    """A process and all its descendants, those included whose parents ended."""

    def __init__(self, root: psutil.Process) -> None:
        self._known = {root.pid: root}
        this = psutil.Process()
        self._this = this.pid
        self._others = {process.pid for process in this.children()} - {root.pid}
        self.peak_rss = 0
        self.peak_pss = 0
        self.largest = 0
        self._next_pss = 0.0
        self._next_search = 0.0

    def sample(self) -> None:
        """Looks at the tree once."""
        alive = self._alive()
        sizes = [_resident(process) for process in alive]
        rss = sum(sizes)
        self.peak_rss = max(self.peak_rss, rss)
        self.largest = max(self.largest, *sizes, 0)
        now = time.monotonic()
        # Proportional sizes are never more than resident ones: below the peak there is nothing to find.
        if rss > self.peak_pss and now >= self._next_pss:
            pss = sum(_proportional(process) for process in alive)
            self.peak_pss = max(self.peak_pss, pss)
            end = time.monotonic()
            self._next_pss = end + (end - now) * (1 / _PSS_SHARE - 1)

    def cpu_of_survivors(self) -> float:
        """CPU seconds of the processes that still run."""
        return sum(_cpu_seconds(process) for process in self._alive())

    def kill(self) -> None:
        """Ends every process of the tree that still runs."""
        for process in self._alive():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

    def _alive(self) -> list[psutil.Process]:
        now = time.monotonic()
        if now >= self._next_search:
            self._next_search = now + 1 / _SEARCHES_PER_SECOND
            # A process whose parent ended is no descendant any more: it is known from when it was one.
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.pid not in self._known and self._is_below(process):
                        self._known[process.pid] = process
        self._known = {pid: process for pid, process in self._known.items() if process.is_running()}
        return list(self._known.values())

    def _is_below(self, process: psutil.Process) -> bool:
        parent = process.ppid()
        return parent in self._known or (parent == self._this and process.pid not in self._others)


def _resident(process: psutil.Process) -> int:
    """Resident set size in bytes, or 0 for a process that ended meanwhile."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    """Proportional set size in bytes, or 0 for a process that ended meanwhile."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _cpu_seconds(process: psutil.Process) -> float:
    """User and system time, or 0 for a process that ended meanwhile."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def named(command: Sequence[str]) -> str:
    """A command in a few words."""
    return " ".join([Path(command[0]).name, *command[1:4]])


def median_of(usages: Sequence[Usage]) -> Usage:
    """The median of each of the measures by itself."""
    rows = [asdict(usage) for usage in usages]
    return Usage(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})
