"""Durable renames: files and folders that get their final name once they are complete, also on the disk."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.core.storage.swap import swap_folders

_AT_ONCE = 8


def publish(temporary: Path, path: Path) -> None:
    """Gives a complete local file or folder its final name, so that both survive a loss of power.

    Without the flush a file system may store the new name before the content: the name would then be that of an empty
    file. Raises OSError as `Path.replace` does.

    Args:
        temporary: the file or folder; its files are closed.
        path: the final name, on the same disk. A file is replaced; a folder is swapped with a temporary folder.
    """
    flush(temporary)
    if temporary.is_dir() and path.is_dir():
        swap_folders(temporary, path)
    else:
        temporary.replace(path)
    _flush(path.parent.resolve())


def flush(path: Path) -> None:
    """Flushes a local file to disk, or all files and folders below a folder; links are not followed.

    Raises OSError: the disk is full or failed.
    """
    if not path.is_dir():
        _flush(path)
        return
    below = [Path(folder, name) for folder, _, names in os.walk(path) for name in ("", *names)]
    # A file system stores what is flushed at one time in one transaction: one by one takes five times as long.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_flush, below))


def _flush(path: Path) -> None:
    """Flushes a file, or the entries of a folder, where its file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # A link, a special file, or a folder that may be written and not read.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems and mounted buckets flush when a file is closed, and cannot at other times.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS):
            raise
    finally:
        os.close(descriptor)
