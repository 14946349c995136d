"""The pages of the documentation: every Markdown file of the repository."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def documents() -> list[str]:
    """Their paths in the repository, sorted; hidden folders hold none."""
    tops = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(path for top in tops if top.is_dir() for path in top.rglob("*.md"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def blocks(document: str, *kinds: str) -> list[str]:
    """The code blocks of some kinds; "" is a block without a name."""
    return [text for kind, text in _BLOCK.findall((ROOT / document).read_text()) if kind in kinds]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return _BLOCK.sub("", text)
