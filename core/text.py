"""Text formatting of counts and lists for messages."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 8


def counted(count: int, noun: str) -> str:
    """Formats a count with its noun, such as "1 row" or "1,450 rows"; the plural of `noun` ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Joins names, and abbreviates many to the first and the last: "1, 2, ..., 90"."""
    return ", ".join(names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]])
