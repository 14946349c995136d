"""Calendar arithmetic on arrays of int64, with operators that numpy arrays and TensorFlow tensors share.

Dates are proleptic Gregorian. The algorithms are Howard Hinnant's (chrono-Compatible Low-Level Date Algorithms): years
begin in March, so that the leap day is the last day.
"""

from __future__ import annotations

from typing import Any

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
# From 1 March of the year 0 to 1 January 1970.
_TO_EPOCH = 719_468


def days_of(year: Any, month: Any, day: Any) -> Any:
    """Days since 1970 of a date from the year 1 on."""
    # January and February belong to the year before.
    early = (14 - month) // 12
    year = year - early
    day_of_year = (153 * (month + 12 * early - 3) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - _TO_EPOCH


def date_of(days: Any) -> tuple[Any, Any, Any]:
    """Year, month and day of days since 1970, from the end of the year 0 on."""
    days = days + _TO_EPOCH
    era = days // 146_097
    of_era = days - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    day_of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * day_of_year + 2) // 153
    late = shifted // 10
    return year + era * 400 + late, shifted + 3 - 12 * late, day_of_year - (153 * shifted + 2) // 5 + 1


def part_of(part: str, local: Any) -> Any:
    """A part of times, which are microseconds since 1970 in local time; `part` is one of DATE_PARTS."""
    days = local // DAY
    seconds = (local - days * DAY) // MICROSECONDS
    if part in ("hour", "minute", "second"):
        return {"hour": seconds // 3600, "minute": seconds // 60 - seconds // 3600 * 60, "second": seconds % 60}[part]
    if part == "weekday":
        # 1 January 1970 was a Thursday.
        return (days + 3) % 7
    year, month, day = date_of(days)
    if part == "day_of_year":
        return days - days_of(year, year * 0 + 1, year * 0 + 1) + 1
    return {"year": year, "month": month, "day": day}[part]
