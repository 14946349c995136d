"""Swaps two folders: atomically on Linux (renameat2 with RENAME_EXCHANGE), so that readers always find one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def swap_folders(one: Path, other: Path) -> None:
    """Swaps two folders of one file system. Raises OSError as `Path.rename` does."""
    import ctypes  # loads a library, which few commands need

    rename: Callable[..., int] | None = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    if rename is not None and rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    # Elsewhere `other` is missing for a moment; its content then has the name that `aside` returns.
    waiting = aside(other)
    other.rename(waiting)
    one.rename(other)
    waiting.rename(one)


def aside(folder: Path) -> Path:
    """The name of the folder's content while a swap in two steps is under way, or after one was killed."""
    return folder.with_name(f".{folder.name}.edit-aside")
