"""Request log spool: lines in files that are complete once they have their final name, bounded in size and age.

A writer holds the lock of its unfinished file, whose name begins with a dot. The next writer in the folder finds those
whose writer has died, cuts an unfinished last line off, and gives them their final name. For a bucket the files are
written to a temporary folder, and each is uploaded when it is complete.

The clock of the machine may be set. When a file is complete is by the monotonic clock; the name of each file is later
than those before it; and a file is old by the time that the log saw pass, see `prune`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.core import storage
from headrace.core.errors import HeadraceError

_log = logging.getLogger("headrace.request_log")
SPOOLED = ".jsonl"
CONVERTED = ".parquet"
_PREFIX = "requests-"
# Of the same length for each time, so that names sort by time.
_TIME = "%Y%m%dT%H%M%S%fZ"
_NEVER = datetime.fromtimestamp(0, UTC)
# Fraction of the maximum age that a pause between two files counts for at most.
_LONGEST_PAUSE = 1 / 7


class Spool:
    """Writes lines to files of a folder; for one thread.

    Args:
        config: of the request log.
        clock: returns the time in seconds since the epoch.
        timer: returns seconds from any origin, which never go back.

    Raises:
        UsageError: the folder cannot be written.
    """

    def __init__(
        self,
        config: RequestLogConfig,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._timer = timer
        self._bucket = config.folder if storage.is_remote(config.folder) else ""
        if self._bucket:
            config = replace(config, folder=tempfile.mkdtemp(prefix="headrace-requests-"))
            self._config = config
        self._folder = storage.local_path(config.folder)
        self._file: FileIO | None = None
        self._path = self._folder
        self._began = 0.0
        self._size = 0
        self._number = 0
        self._failed = False
        self._uploaded = 0.0
        # A process id is used again, as after a restart of a container.
        self._writer = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        with storage.writing(config.folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            recover(self._folder)
            self._named = max(map(_time_of, complete_files(self._folder)), default=_NEVER)
            prune(config, clock())

    def write(self, line: bytes) -> None:
        """Appends a line, and completes the file if it is now large enough.

        Raises:
            OSError: the disk is full, or the folder was removed.
        """
        if self._file is None:
            self._open()
        assert self._file is not None
        try:
            # Without a buffer, so that a full disk is seen with the line that it cannot hold.
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
                self.rotate()
            self._file = None
            raise
        self._size += len(line)
        if self._size >= self._config.file_bytes:
            self.rotate()

    def rotate_old(self) -> None:
        """Completes the file if it is old enough, and tries again to upload what the store did not accept."""
        now = self._timer()
        if self._file is not None and now - self._began >= self._config.file_s:
            self.rotate()
        elif self._failed and now - self._uploaded >= self._config.file_s:
            self._upload()

    def rotate(self) -> None:
        """Completes the file, if there is one, and removes the oldest complete ones beyond the bounds."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with file:
            storage.publish(self._path, _final(self._path))
        if self._bucket:
            self._upload()
        prune(self._config, self._clock())

    def close(self) -> None:
        """Completes the file; errors as of `write`."""
        self.rotate()
        if self._bucket:
            if self._failed:
                self._upload()
            # What the store has not accepted stays.
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _upload(self) -> None:
        """Uploads the complete files; those that the store does not accept wait for the next time."""
        self._uploaded = self._timer()
        for path in complete_files(self._folder):
            try:
                storage.write_bytes(storage.join(self._bucket, path.name), path.read_bytes())
            except HeadraceError as error:
                if not self._failed:
                    _log.error("the request log cannot be uploaded, and is tried again: %s", error.paragraph)
                self._failed = True
                return
            self._failed = False
            path.unlink()

    def _open(self) -> None:
        self._began, self._size = self._timer(), 0
        self._number += 1
        # The name sorts by time, also where the clock was set back; processes of several machines may write to one
        # folder.
        self._named = max(datetime.fromtimestamp(self._clock(), UTC), self._named + timedelta(microseconds=1))
        name = f"{_PREFIX}{self._named.strftime(_TIME)}-{self._writer}-{self._number}{SPOOLED}"
        self._path = self._folder / f".{name}"
        file = self._path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = file


def complete_files(folder: Path) -> list[Path]:
    """The complete files of a request log, spooled and converted, oldest first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.name.startswith(_PREFIX))
    return sorted(path for path in found if path.suffix in (SPOOLED, CONVERTED))


def is_complete(name: str) -> bool:
    """Whether a name is that of a complete spooled file."""
    return name.startswith(_PREFIX) and name.endswith(SPOOLED)


def begins_before(name: str, seconds: float) -> bool:
    """Whether a file was begun before a time, in seconds since the epoch."""
    at = datetime.fromtimestamp(seconds, UTC).strftime(_TIME)
    return name.partition(_PREFIX)[2].partition("-")[0] < at


def writer_of(name: str) -> str:
    """The writer of a spooled file, which has a name of its own: a process, or a server in it; "" if it has none.

    Args:
        name: of the file, also of an unfinished one.
    """
    return name.partition(_PREFIX)[2].partition("-")[2].rpartition("-")[0]


def writers(folder: Path) -> list[str]:
    """The writers of a request log, sorted, also of its unfinished files; a folder that does not exist has none."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted({writer_of(name) for name in names if name.startswith((_PREFIX, f".{_PREFIX}"))})


def read_spooled(path: Path) -> Iterator[LoggedBatch]:
    """The batches of a complete spooled file.

    Raises:
        DataError: a line is damaged.
        FileNotFoundError: the file was removed.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield LoggedBatch.from_line(line, f"{path}, line {number}")


def converted_name(path: Path, number: int) -> Path:
    """The Parquet file of a part of a spooled file."""
    return path.with_name(f"{path.name.removesuffix(SPOOLED)}.{number}{CONVERTED}")


def spooled_name(path: Path) -> Path:
    """The spooled file that a Parquet file was converted from."""
    return path.with_name(path.name.removesuffix(CONVERTED).rpartition(".")[0] + SPOOLED)


def prune(config: RequestLogConfig, now: float) -> None:
    """Removes complete files that are too old, and the oldest of those that are too large together.

    The age of a file is the time that the log saw pass since it was written. A longer pause than a seventh of the
    maximum age counts as one of that length, because it may be that the clock was set: a clock that jumps ahead by a
    week removes no more than a day does. A clock that was set back adds no age.

    Args:
        config: with the bounds.
        now: in seconds since the epoch.
    """
    longest = config.maximum_age_s * _LONGEST_PAUSE
    total, age, after = 0, 0.0, now
    for path in reversed(complete_files(storage.local_path(config.folder))):
        try:
            facts = path.stat()
        except FileNotFoundError:
            # Another process removed or converted it.
            continue
        total += facts.st_size
        pause = after - facts.st_mtime
        # Files of several writers do not end in the order of their names: only what is earlier than all later ones
        # adds to the age.
        if pause > 0 or pause < -longest:
            age += max(0.0, min(pause, longest))
            after = facts.st_mtime
        if total > config.folder_bytes or age > config.maximum_age_s:
            path.unlink(missing_ok=True)


def recover(folder: Path) -> None:
    """Completes the files of writers that have died."""
    for path in folder.glob(f".{_PREFIX}*{SPOOLED}"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have completed it since the folder was listed.
            if not path.exists():
                continue
            content = file.read()
            end = content.rfind(b"\n") + 1
            file.truncate(end)
            if end:
                storage.publish(path, _final(path))
            else:
                path.unlink()


def _time_of(path: Path) -> datetime:
    """The time in the name of a file; the earliest one where there is none."""
    try:
        return datetime.strptime(path.name.partition(_PREFIX)[2].partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return _NEVER


def _final(path: Path) -> Path:
    return path.with_name(path.name.removeprefix("."))
