"""Text tables: aligned columns for commands that list."""

from __future__ import annotations

import datetime
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as lines of aligned columns, without terminal control sequences."""
    plain = [["".join(char if char.isprintable() else "?" for char in cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*plain, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain
    )


def moment(seconds: float | None) -> str:
    """A time in seconds since 1970, as ISO 8601 in UTC; "" for None."""
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def took(started: float | None, finished: float | None, now: float) -> str:
    """Whole seconds from the start to the end, or to `now` without an end; "" without a start."""
    return "" if started is None else f"{max(0.0, (now if finished is None else finished) - started):.0f} s"
