"""Atomic edits of a folder: a copy with hard links to its files is edited, and then swapped with the folder.

Readers see the folder before or after the edit, also when the writer is killed at any moment: on Linux the swap is one
operation of the file system.
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
from headrace.core.storage.output_check import Artifact, check_replaceable
from headrace.core.storage.swap import aside


def check_local(uri: str) -> None:
    """Refuses a folder in an object store, where folders cannot be swapped.

    Raises:
        UsageError: the folder is in an object store.
    """
    if storage.is_remote(uri):
        raise UsageError(
            "spans and appended rows need a folder on this machine", where=uri, expected="a local path or file://..."
        )


@contextmanager
def exclusive(uri: str, *, timeout_s: float = 600.0) -> Iterator[Path]:
    """Locks the folder for one writer, and removes the leftovers of killed writers.

    Yields:
        The folder, which need not exist.

    Raises:
        UsageError: the folder is not on this machine, or cannot be written.
        PlatformError: another process held the lock for all of `timeout_s`.
    """
    check_local(uri)
    folder = storage.resolve(uri)
    # The lock is next to the folder, because the folder itself is replaced.
    lock = locked(str(folder.parent), timeout_s=timeout_s, name=f".{folder.name}.editing")
    with lock, storage.writing(uri):
        waiting = aside(folder)
        if waiting.exists() and not folder.exists():
            waiting.rename(folder)
        for left in folder.parent.glob(f".{folder.name}.edit-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


@contextmanager
def swapping(folder: Path, kind: Artifact | None) -> Iterator[Path]:
    """A copy of a folder, empty if it does not exist, that replaces it when the block succeeds.

    The copy's files are hard links: replace or remove a file, and never write to it. Call within `exclusive`.

    Args:
        folder: a local one.
        kind: of the artifact in it; None for a folder that nothing else uses.

    Raises:
        UsageError: the folder then holds something else, which stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    copy = storage.temporary_name(folder, "edit-")
    try:
        if folder.exists():
            shutil.copytree(folder, copy, copy_function=_link)
        else:
            copy.mkdir()
        yield copy
        # Hours may have passed since the copy.
        if kind is not None:
            check_replaceable(str(folder), kind)
        storage.publish(copy, folder)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # A file system without hard links.
        shutil.copy2(source, target)
