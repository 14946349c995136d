"""Text formatting of counts, lists and undecodable names for messages, and parsing of durations."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHOWN = 8
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)\Z")


def counted(count: int, noun: str) -> str:
    """Formats a count with its noun, such as "1 row" or "1,450 rows"; the plural of `noun` ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Joins names, and abbreviates many to the first and the last: "1, 2, ..., 90"."""
    return ", ".join(names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]])


def undecodable(text: str) -> str | None:
    """A path or an argument with its bytes that are not UTF-8 shown as escapes; None if all of it is UTF-8.

    Python holds such bytes as half surrogate pairs, which no artifact, log or message can hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return None


def parse_duration(text: str) -> float:
    """Seconds of a duration: a number with s, m, h or d, such as "1.5h", or of seconds.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 1h or 90s")
    return float(found[1]) * _SECONDS[found[2]]
