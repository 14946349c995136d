"""Lets two folders change places: on Linux in one step of the file system, so that readers never find neither."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Lets two folders of one file system change places. Raises OSError as `Path.rename` does."""
    import ctypes  # loads a library, which few commands need

    rename: Callable[..., int] | None = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    if rename is not None and rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    # Elsewhere there is a moment without `other`; what was there then has the name that `aside` says.
    waiting = aside(other)
    other.rename(waiting)
    one.rename(other)
    waiting.rename(one)


def aside(folder: Path) -> Path:
    """Where a folder is found that was killed in the middle of an exchange that took two steps."""
    return folder.with_name(f".{folder.name}.edit-aside")
