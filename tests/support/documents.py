"""The pages of the documentation: every Markdown file of the repository."""

from __future__ import annotations

import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


# Folders that setuptools writes.
_BUILT = ("build", "dist")


def documents() -> list[str]:
    """Their paths in the repository, sorted; hidden folders hold none."""
    return sorted(path for path in files() if path.endswith(".md"))


@functools.cache
def files() -> tuple[str, ...]:
    """The paths of all files of the repository, but those in hidden folders."""
    tops = [path for path in ROOT.iterdir() if not path.name.startswith(".") and path.name not in _BUILT]
    found = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()]
    return tuple(path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts)


def blocks(document: str, *kinds: str) -> list[str]:
    """The code blocks of some kinds; "" is a block without a name."""
    return [text for kind, text in _BLOCK.findall((ROOT / document).read_text()) if kind in kinds]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return _BLOCK.sub("", text)
