"""A disk whose power may fail: what was flushed when a file or a folder got its final name, and what was not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headrace.core.storage import durable


class Disk:
    """Records flushes and renames of this process, as it makes them.

    Attributes:
        published: the final names, in order.
        lost: what a loss of power after a rename could have taken: "NAME: FILE was not flushed", in order.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.published: list[Path] = []
        self.lost: list[str] = []
        self._flushed: dict[Path, Any] = {}
        self._waiting: set[Path] = set()
        sync, replace, rename, swap = os.fsync, os.replace, os.rename, durable.swap_folders

        def flush(descriptor: int) -> None:
            sync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._flushed[path] = _state(path)
            self._waiting.discard(path)

        def renamed(do: Any) -> Any:
            def wrapped(source: Any, target: Any) -> None:
                self._check(Path(source).parent.resolve() / Path(source).name, Path(target))
                do(source, target)

            return wrapped

        patch.setattr(os, "fsync", flush)
        patch.setattr(os, "replace", renamed(replace))
        patch.setattr(os, "rename", renamed(rename))
        patch.setattr(durable, "swap_folders", renamed(swap))

    @property
    def unflushed(self) -> set[Path]:
        """The folders in which a new name could be lost."""
        return self._waiting

    def _check(self, source: Path, target: Path) -> None:
        self.published.append(target)
        self._waiting.add(target.parent.resolve())
        for path in [source, *sorted(source.rglob("*"))]:
            if not path.is_symlink() and self._flushed.get(path) != _state(path):
                self.lost.append(f"{target.name}: {path.name} was not flushed")


def _state(path: Path) -> Any:
    """What a flush of the file or the folder stores."""
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else path.read_bytes()
