"""Unfinished folders: temporary folders that become artifacts, locked by their writer, so that a killed one's is known.

The operating system releases the lock with the process. Where folders cannot be locked, as on some network file
systems, none is removed.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.core.storage.files import temporary_name

# As of `temporary_name`.
_NAME = re.compile(r"\.(.+)\.[0-9a-f]{16}")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A new, locked folder next to a local `path`, removed when the block ends unless it was renamed.

    Those that killed processes left for the same `path` are removed first. Raises OSError as `Path.mkdir` does.
    """
    remove_abandoned(left for left in path.parent.glob(f".{glob.escape(path.name)}.*") if _of(left) == path.name)
    descriptor = -1
    while descriptor < 0:
        folder = temporary_name(path)
        folder.mkdir()
        descriptor = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Removes those of some folders that are unfinished, and whose writer has died; a failure is ignored."""
    for folder in folders:
        if _of(folder) is None or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _locked(folder: Path) -> int:
    """The descriptor of a new folder, locked if its file system can; -1 if another process took it for abandoned."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return descriptor
    if folder.exists():
        return descriptor
    os.close(descriptor)
    return -1


def _of(folder: Path) -> str | None:
    """The name that an unfinished folder is to get; None for any other folder."""
    found = _NAME.fullmatch(folder.name)
    return None if found is None else found[1]
