"""Glob patterns over object names, translated to regular expressions."""

from __future__ import annotations

import fnmatch
import re


def translate(pattern: str) -> str:
    """Translates a glob over object names to a regular expression."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part) or (_set(part) if len(part) > 2 and part[0] == "[" and part[-1] == "]" else re.escape(part))
        for part in parts
    )


def _set(part: str) -> str:
    # As on a disk: a range that runs backwards has no characters, and a backslash is one.
    expression = fnmatch.translate(f"[!{part[2:]}" if part[1] == "^" else part)
    return expression[len("(?s:") : expression.rindex(")")]
