"""Output folders: written beside their place, and swapped in when they are whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.core import storage
from headrace.core.storage.output_check import Artifact, check_replaceable
from headrace.core.storage.swap import exchange

# What readers of an artifact look for: it comes last.
_MANIFEST = "manifest.json"


@contextmanager
def publishing(uri: str, kind: Artifact | None) -> Iterator[Path]:
    """A temporary folder beside `uri` that is renamed to it when the block ends well, and is removed otherwise.

    An artifact of the same kind that is at `uri` changes places with the new one, and is then removed: it is there
    until the new one is whole. Anything else that is there stays, and the new one is removed. In an object store,
    which cannot rename, the temporary folder is a local one that is copied when the block ends well; the manifest
    comes last, as the sign that all is there.

    Args:
        uri: the place; a symbolic link is followed.
        kind: what is written; None for a folder within a folder of ours, whose name nobody else gives.

    Raises:
        UsageError: the place cannot be written, or holds something else.
        PlatformError: the disk is full, or the service failed.
    """
    if storage.is_remote(uri):
        if kind is not None:
            check_replaceable(uri, kind)
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            if kind is not None:
                # Hours may have passed since the first check.
                check_replaceable(uri, kind)
            storage.upload_folder(Path(staging), uri, _MANIFEST if kind is None else kind.manifest)
        return
    path = storage.resolve(uri)
    with storage.writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = storage.temporary_name(path)
        temporary.mkdir()
    try:
        yield temporary
        with storage.writing(uri):
            if kind is not None:
                check_replaceable(str(path), kind, where=uri)
            if path.is_dir():
                exchange(temporary, path)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(uri: str) -> None:
    """Makes sure, before long work, that `publishing` can begin at `uri`. In an object store nothing is tried.

    Raises:
        UsageError: the folder above it cannot be written.
        PlatformError: the disk is full or failed.
    """
    if not storage.is_remote(uri):
        with storage.beside(str(storage.resolve(uri))):
            pass
