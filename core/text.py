"""How numbers and lists are said to a reader."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 8


def counted(count: int, noun: str) -> str:
    """A number of things, such as "1 row" or "1,450 rows"; the plural of `noun` ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """The names, or where they are many the first and the last of them: "1, 2, ..., 90"."""
    return ", ".join(names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]])
