"""Windows of time: which one a message belongs to, and the span that is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headrace.core.checks import check_count
from headrace.core.errors import UsageError

_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z)-([1-9][0-9]{0,5})s\Z")
_FORM = "%Y-%m-%dT%H%M%SZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 86_400


@dataclass(frozen=True)
class Windows:
    """Windows of one length, which begin at multiples of it since 1970 and do not overlap.

    Args:
        seconds: length of a window, 1 to 86,400.
        grace_seconds: how long after its end a window accepts messages, 0 or more.

    Raises:
        UsageError: a value is outside its range.
    """

    seconds: int = 300
    grace_seconds: int = 60

    def __post_init__(self) -> None:
        check_count(self.seconds, "window_seconds", maximum=_LONGEST, where="windows")
        check_count(self.grace_seconds, "grace_seconds", minimum=0, maximum=_LONGEST, where="windows")

    def span_of(self, time: datetime) -> str:
        """The name of the span of a time: its window's begin, in UTC, and length, such as 2026-11-29T140500Z-300s.

        Names of one length sort by time, and begin with their day.
        """
        begin = (time - _EPOCH) // timedelta(seconds=self.seconds) * timedelta(seconds=self.seconds) + _EPOCH
        return f"{begin.strftime(_FORM)}-{self.seconds}s"

    def closes(self, span: str) -> datetime:
        """The time from which a window accepts no message: its end and the grace.

        Raises:
            UsageError: the text is not the name of a span.
        """
        begin, seconds = parse(span)
        return begin + timedelta(seconds=seconds + self.grace_seconds)


def parse(span: str) -> tuple[datetime, int]:
    """Begin and length in seconds of the window of a span.

    Raises:
        UsageError: the text is not the name of a span.
    """
    found = _NAME.match(span)
    if not found:
        raise UsageError(
            "it is not the name of a window's span", expected="such as 2026-11-29T140500Z-300s", received=repr(span)
        )
    return datetime.strptime(found[1], _FORM).replace(tzinfo=UTC), int(found[2])
