"""Folder lock between processes, which the operating system releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.core import storage
from headrace.core.errors import PlatformError

_FIRST_PAUSE_S = 0.002
_MAX_PAUSE_S = 0.05


@contextmanager
def locked(uri: str, *, timeout_s: float = 60.0, name: str = ".lock") -> Iterator[int]:
    """Holds the lock of the folder `uri`, which is created if it does not exist.

    The lock belongs to the open file that is yielded: a child that inherits the descriptor holds the lock until it
    closes it, also when the parent is killed.

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
    folder = storage.local_path(uri)
    with storage.writing(uri):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline, pause = time.monotonic() + timeout_s, _FIRST_PAUSE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise PlatformError(
                        "another process holds the lock",
                        where=uri,
                        expected=f"the lock within {timeout_s:g} s",
                        fix="Try again when the other process has finished",
                    ) from error
                time.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_S)
        yield descriptor
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
