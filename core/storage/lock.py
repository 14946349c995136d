"""Folder lock between processes, which the operating system releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import PlatformError

FOLDER_LOCK = ".lock"

_FIRST_PAUSE_S = 0.002
_MAX_PAUSE_S = 0.05
# `is_locked` holds the lock for a moment, which also a caller that does not wait must outlast.
_MIN_WAIT_S = 0.02


@contextmanager
def locked(uri: str, *, timeout_s: float = 60.0, name: str = FOLDER_LOCK) -> Iterator[int]:
    """Holds the lock of the folder `uri`, which is created if it does not exist.

    The lock belongs to the open file that is yielded: a child that inherits the descriptor holds the lock until it
    closes it, also when the parent is killed.

    The file of a lock with a name of its own is removed at the end; `.lock` stays, as the mark of a folder of ours.
    What a killed holder leaves is removed by the next one.

    Args:
        uri: the folder.
        timeout_s: how long to wait for another holder, in seconds.
        name: of the lock's file in the folder; each name is a lock of its own.

    Yields:
        The descriptor of the lock's file.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: another process held the lock for all of `timeout_s`.
    """
    path = storage.local_path(uri) / name
    descriptor = _acquired(path, uri, timeout_s)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        if name != FOLDER_LOCK:
            _remove_free(path)


def _acquired(path: Path, uri: str, timeout_s: float) -> int:
    deadline, pause = time.monotonic() + max(timeout_s, _MIN_WAIT_S), _FIRST_PAUSE_S
    while True:
        with storage.writing(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file after it was opened here: its lock excludes nobody.
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise PlatformError(
                    "another process holds the lock",
                    where=uri,
                    expected=f"the lock within {timeout_s:g} s",
                    fix="Try again when the other process has finished",
                ) from error
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_free(path: Path) -> None:
    """Removes the file of a lock that nobody holds; a file is removed by the lock's holder only."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                path.unlink()
        finally:
            os.close(descriptor)


def is_locked(uri: str, *, name: str = ".lock") -> bool:
    """Whether a process holds the lock of the folder `uri`; nothing is written.

    For a moment this acquires the lock itself, shared with other callers of this function.

    Args:
        uri: the folder.
        name: of the lock's file.
    """
    path = storage.local_path(uri) / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
