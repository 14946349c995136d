"""Glob patterns over object names."""

from __future__ import annotations

import re


def translate(pattern: str) -> str:
    """A glob over object names as a regular expression."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part) or (_set(part) if len(part) > 2 and part[0] == "[" and part[-1] == "]" else re.escape(part))
        for part in parts
    )


def _set(part: str) -> str:
    none_of = part[1] in "!^"
    characters = part[2:-1] if none_of else part[1:-1]
    return f"[{'^' if none_of else ''}{characters}]"
