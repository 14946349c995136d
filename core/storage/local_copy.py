"""Local copies of folders in an object store, for libraries that read only local files."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.storage.remote import folders


class LocalCopy:
    """A local folder that lives as long as this object: a copy, or the folder itself if it is local.

    Where a block of code defines the lifetime, use `storage.at_hand`.

    Attributes:
        path: of the local folder.
    """

    def __init__(self, uri: str) -> None:
        """Copies the folder, if it is in an object store.

        Raises:
            DataError: the folder is empty or does not exist.
            UsageError: access is denied, or the disk cannot be written.
            PlatformError: the service failed, or the disk is full.
        """
        if not storage.is_remote(uri):
            self.path = str(storage.local_path(uri))
            return
        self.path = tempfile.mkdtemp(prefix="headrace-")
        weakref.finalize(self, _remove, self.path, os.getpid())
        with storage.writing(self.path):
            if not folders.download_tree(uri, Path(self.path)):
                raise DataError("the folder is empty or does not exist", where=uri)


def _remove(folder: str, process: int) -> None:
    # A forked process inherits the object, and ends before the process that made the copy.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
