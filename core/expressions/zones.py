"""Time zones as tables of offsets from UTC, which all lowerings share, so that their results agree.

The tables come from the package `tzdata` instead of the system: all images and machines have the same ones.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

# Times outside these years have no local time: laws change, and the tables do not hold rules without an end.
FIRST_YEAR = 1900
LAST_YEAR = 2100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}\Z")
_DAY = 86_400


@dataclass(frozen=True)
class Zone:
    """Offsets of a time zone.

    Attributes:
        starts: seconds since 1970 from which each offset holds, ascending; the first one is the start of FIRST_YEAR.
        offsets: seconds to add to UTC, one for each start.
    """

    starts: tuple[int, ...]
    offsets: tuple[int, ...]


def zone_exists(name: str) -> bool:
    """Whether tzdata has a zone of this name."""
    return bool(_NAME.match(name)) and _file(name).is_file()


@functools.cache
def zone(name: str) -> Zone:
    """The table of a zone that exists.

    Changes are found by comparing the offsets of successive days: no zone changed twice within a day.
    """
    with _file(name).open("rb") as file:
        rules = ZoneInfo.from_file(file)

    def offset(second: int) -> int:
        shift = (_EPOCH + timedelta(seconds=second)).astimezone(rules).utcoffset()
        return 0 if shift is None else round(shift.total_seconds())

    first, last = (seconds_of(year) for year in (FIRST_YEAR, LAST_YEAR + 1))
    starts, offsets = [first], [offset(first)]
    for day in range(first, last, _DAY):
        if offset(day + _DAY) != offsets[-1]:
            before = offsets[-1]
            change = bisect_left(range(day, day + _DAY + 1), True, key=lambda second: offset(second) != before)
            starts.append(day + change)
            offsets.append(offset(day + change))
    return Zone(tuple(starts), tuple(offsets))


def seconds_of(year: int) -> int:
    """The beginning of a year in UTC, in seconds since 1970."""
    return int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())


def _file(name: str) -> resources.abc.Traversable:
    return resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
