"""Shard files on this machine: those of a local folder or of a mounted bucket, or copies of objects."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.core import storage
from headrace.core.storage.mounts import mounted_bucket

# Vertex AI mounts all buckets here.
_MOUNTS = Path("/gcs")
_AT_ONCE = 8
_CHUNK = 8 << 20


class ShardFiles:
    """Files of a folder, for libraries that read only local ones.

    Attributes:
        folder: the local folder that the files' paths are relative to. Copies live as long as this object.
    """

    def __init__(self, uri: str, files: Sequence[str]) -> None:
        """Copies the files, if they are in a bucket that is not mounted.

        Args:
            uri: of the folder.
            files: paths relative to it; missing files are skipped.

        Raises:
            UsageError: access is denied, or the disk cannot be written.
            PlatformError: the service failed, or the disk is full.
        """
        if not storage.is_remote(uri):
            self.folder = storage.local_path(uri)
            return
        mounted = _MOUNTS / uri.removeprefix("gs://")
        if uri.startswith("gs://") and mounted_bucket(mounted) is not None:
            self.folder = mounted
            return
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-shards-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())
        download = functools.partial(_download, uri, self.folder)
        with storage.writing(str(self.folder)), ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(download, files))


def _download(uri: str, folder: Path, file: str) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    # The reader reports a missing file, and checks the records' checksums.
    with (
        contextlib.suppress(FileNotFoundError),
        storage.open_input(storage.join(uri, file)) as source,
        path.open("wb") as copy,
    ):
        shutil.copyfileobj(source, copy, _CHUNK)


def _remove(folder: Path, process: int) -> None:
    # A forked process inherits the object, and ends before the process that created the copies.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
