"""Changes a folder of files as if at once: a copy that shares the files is changed, and then takes the folder's place.

Readers see the folder as it was or as it is, also when the writer is killed at any moment: on Linux the two change
places in one step of the file system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.storage.lock import locked
from headrace.core.storage.swap import aside, exchange


def check_local(uri: str) -> None:
    """Refuses a folder in an object store, where folders cannot change places.

    Raises:
        UsageError: it is one.
    """
    if storage.is_remote(uri):
        raise UsageError(
            "spans and appended rows need a folder on this machine", where=uri, expected="a local path or file://..."
        )


@contextmanager
def exclusive(uri: str, *, timeout_s: float = 600.0) -> Iterator[Path]:
    """Holds the folder against other writers, and clears away what killed ones have left.

    Yields:
        The folder, which need not be there.

    Raises:
        UsageError: it is not on this machine, or cannot be written.
        PlatformError: another process wrote to it all the time.
    """
    check_local(uri)
    folder = storage.resolve(uri)
    # The lock is beside the folder, because the folder itself is replaced.
    with locked(str(folder.with_name(f".{folder.name}.lock")), timeout_s=timeout_s), storage.writing(uri):
        waiting = aside(folder)
        if waiting.exists() and not folder.exists():
            waiting.rename(folder)
        for left in folder.parent.glob(f".{folder.name}.edit-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


@contextmanager
def swapping(folder: Path) -> Iterator[Path]:
    """A copy of the folder, empty if there is none, that takes its place if the block ends well.

    The copy's files are hard links: a file is replaced or removed, and never written to. To be used within
    `exclusive`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    copy = storage.temporary_name(folder, "edit-")
    try:
        if folder.exists():
            shutil.copytree(folder, copy, copy_function=_link)
        else:
            copy.mkdir()
        yield copy
        if folder.exists():
            exchange(copy, folder)
        else:
            copy.rename(folder)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # A file system without hard links.
        shutil.copy2(source, target)
