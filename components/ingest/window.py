"""Window of spans: selects the spans that training reads, by their names."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from headrace.core.errors import UsageError

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
_NUMBER = re.compile(r"([0-9]+)")

Verdict = Literal["accepted", "quarantined", "empty"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Window:
    """The newest spans by name; all of them by default.

    Args:
        last_spans: maximum number of spans with rows, 0 or more; 0 for no limit.
        last_days: number of days, 0 or more, counted back from the newest one; 0 for no limit. If given, the names of
            spans must begin with their day, as in 2026-11-20 and 2026-11-20T05.

    Raises:
        UsageError: a number is below 0, or both are above 0.
    """

    last_spans: int = 0
    last_days: int = 0

    def __post_init__(self) -> None:
        for name in ("last_spans", "last_days"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"{name} is not valid", expected="a whole number, 0 or more", received=repr(value))
        if self.last_spans and self.last_days:
            raise UsageError(
                "the window has two limits",
                expected="last_spans or last_days",
                received=f"last_spans={self.last_spans}, last_days={self.last_days}",
            )

    def check(self, span: str) -> None:
        """Checks that the name of a span fits the limit.

        Raises:
            UsageError: the limit is in days, and the name does not begin with a day.
        """
        if self.last_days:
            day_of(span)

    def chosen(
        self, spans: Iterable[str], candidates: Callable[[str], Iterable[Item]], judge: Callable[[Item], Verdict]
    ) -> list[tuple[str, Item]]:
        """The spans of the window, oldest first, each with the version of its data that is used.

        For each span, the newest version that is not quarantined is used. If that version has no rows, the span is not
        in the window, whatever its earlier versions are.

        Args:
            spans: names of all spans.
            candidates: maps the name of a span to its versions, newest first.
            judge: maps a version to its verdict. Only versions that may be in the window are judged.
        """
        found: list[tuple[str, Item]] = []
        first_day = None
        for span in sorted(spans, key=span_order, reverse=True):
            if self.last_spans and len(found) == self.last_spans:
                break
            if first_day is not None and day_of(span) < first_day:
                break
            for item in candidates(span):
                verdict = judge(item)
                if verdict == "quarantined":
                    continue
                if self.last_days and first_day is None:
                    first_day = day_of(span) - datetime.timedelta(days=self.last_days - 1)
                if verdict == "accepted":
                    found.append((span, item))
                break
        return found[::-1]


def span_order(span: str) -> tuple[list[tuple[int, int, str]], str]:
    """The sort key of a span's name. Digits are compared as numbers, so that 9 is before 10."""
    pieces = _NUMBER.split(span)
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces if piece], span


def day_of(span: str) -> datetime.date:
    """The day with which the name of a span begins.

    Raises:
        UsageError: the name does not begin with a day.
    """
    if found := _DAY.match(span):
        try:
            return datetime.date.fromisoformat(found[0])
        except ValueError:
            pass
    raise UsageError(
        "the span has no day, and the window is a number of days",
        where=f"span {span}",
        expected="a name that begins with a day, such as 2026-11-20",
        received=span,
        fix="Rename the span, or give the window as a number of spans",
    )
