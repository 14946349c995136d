"""Mounted buckets: folders of an object store, in which locks hold on one machine only."""

from __future__ import annotations

import os
from pathlib import Path

_BUCKETS = frozenset({"fuse.gcsfuse", "fuse.s3fs", "fuse.goofys", "fuse.blobfuse", "fuse.blobfuse2", "fuse.rclone"})
_MOUNTS = Path("/proc/self/mounts")


def mounted_bucket(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the file system of `path`, if it is a mounted bucket; None for any other, or where it is not known.

    Args:
        path: need not exist.
        mounts: the table of mounts, in the form of fstab(5).
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    real, found, length = os.path.realpath(path), None, -1
    for line in lines:
        _, folder, kind, *_ = line.split(" ")
        # The table has spaces and backslashes in octal.
        folder = folder.encode().decode("unicode_escape")
        inside = real == folder or real.startswith(f"{folder.rstrip('/')}/")
        # Of two mounts on one folder, the later one is seen.
        if inside and len(folder) >= length:
            found, length = kind, len(folder)
    return found if found in _BUCKETS else None
