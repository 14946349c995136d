"""Folders of an object store on this machine's disk, for libraries that can read nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import DataError


class LocalCopy:
    """A folder that is here as long as this object, or the process: a copy, or the folder itself where it is here.

    Where a block of code knows how long that is, `storage.at_hand` does it.

    Attributes:
        path: of the folder on this machine.
    """

    def __init__(self, uri: str) -> None:
        """Copies the folder, if it is in an object store.

        Raises:
            DataError: nothing is there.
            UsageError: it may not be read, or the disk not written.
            PlatformError: the service failed, or the disk is full.
        """
        if not storage.is_remote(uri):
            self.path = str(storage.local_path(uri))
            return
        from headrace.core.storage import gcs

        self.path = tempfile.mkdtemp(prefix="headrace-")
        weakref.finalize(self, _remove, self.path, os.getpid())
        with storage.writing(self.path):
            if not gcs.download_tree(uri, Path(self.path)):
                raise DataError("there is nothing in the folder", where=uri)


def _remove(folder: str, process: int) -> None:
    # A process that was forked off has the object too, and ends before the one that made the copy.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
