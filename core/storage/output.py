"""Output folders: written to a temporary folder next to their path, and swapped in when complete."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from headrace.core import storage
from headrace.core.storage.output_check import Artifact, check_replaceable
from headrace.core.storage.unfinished import unfinished

# Readers of an artifact look for this file: it is written last.
_MANIFEST = "manifest.json"


@contextmanager
def publishing(uri: str, kind: Artifact | None) -> Iterator[Path]:
    """A temporary folder next to `uri` that is renamed to it when the block succeeds, and is removed otherwise.

    An existing artifact of the same kind at `uri` is swapped with the new one, and then removed: it exists until the
    new one is complete. Anything else at `uri` stays, and the new one is removed. Temporary folders that killed
    processes left for `uri` are removed first. In an object store, which cannot
    rename, the temporary folder is local and is uploaded when the block succeeds; the manifest is written last, and
    marks the artifact as complete.

    Args:
        uri: the output; a symbolic link is followed.
        kind: of the artifact; None for a folder within a folder of headrace's, where nothing else uses the name.

    Raises:
        UsageError: `uri` cannot be written, or holds something else.
        PlatformError: the disk is full, or the service failed.
    """
    if storage.is_remote(uri):

        def check() -> None:
            if kind is not None:
                check_replaceable(uri, kind)

        check()
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            # Hours may have passed since the first check.
            storage.upload_folder(Path(staging), uri, _MANIFEST if kind is None else kind.manifest, check)
        return
    path = storage.resolve(uri)
    with ExitStack() as stack:
        with storage.writing(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(unfinished(path))
        yield temporary
        with storage.writing(uri):
            if kind is not None:
                check_replaceable(str(path), kind, where=uri)
            storage.publish(temporary, path)


def check_writable(uri: str) -> None:
    """Checks, before long work, that `publishing` can begin at `uri`. An object store is not checked.

    Raises:
        UsageError: the parent folder cannot be written.
        PlatformError: the disk is full or failed.
    """
    if not storage.is_remote(uri):
        with storage.beside(str(storage.resolve(uri))):
            pass
