"""Deliveries of files over some days: late, repeated, and of files that were overwritten; and each of them once.

Every write of a file is an event, which is delivered one or more times. A delivery finds the file as it is then.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.day_spans import day, rows_of, write_rows

LATEST = 3


@dataclass(frozen=True)
class Write:
    """A file as it is written.

    Attributes:
        span: its name.
        revision: 0, or the number of times it was overwritten.
        broken: whether its rows break a rule.
    """

    span: str
    revision: int = 0
    broken: bool = False

    def to(self, folder: Path) -> str:
        """Writes it; returns its path."""
        rows = rows_of(self.span, self.revision, scale=1_000_000 if self.broken else 1)
        return write_rows(folder / f"{self.span}.csv", rows)


@dataclass(frozen=True)
class Deliveries:
    """What is written and delivered.

    Attributes:
        writes: by day, in order; before the day's deliveries.
        events: spans whose event is delivered, by day, in order.
    """

    writes: Mapping[int, Sequence[Write]]
    events: Mapping[int, Sequence[str]]

    @property
    def days(self) -> range:
        """All days on which something happens."""
        return range(1 + max(*self.writes, *self.events))

    def once(self) -> Deliveries:
        """The same writes, of which each that is found is delivered once, on the day on which it is found first."""
        now: dict[str, Write] = {}
        known: set[Write] = set()
        events: dict[int, list[str]] = {}
        for number in self.days:
            now.update({write.span: write for write in self.writes.get(number, ())})
            new = [span for span in dict.fromkeys(self.events.get(number, ())) if now[span] not in known]
            known |= {now[span] for span in new}
            events[number] = new
        return Deliveries(self.writes, events)


def random_deliveries(
    days: int, per_day: int, *, late: float, overwritten: float, repeats: int, seed: int
) -> Deliveries:
    """Deliveries at random.

    Args:
        days: number of days on which files are written first.
        per_day: files of a day.
        late: fraction of the events that come one to `LATEST` days after the write.
        overwritten: fraction of the files that are overwritten within three days, the broken one among them.
        repeats: maximum number of deliveries of an event; those after the first come within three days of it.
        seed: of the choices.
    """
    chance = random.Random(seed)
    names = [(number, f"{day(number)}T{hour:02}") for number in range(days) for hour in range(per_day)]
    # The first file makes the first champion.
    broken = names[len(names) // 2][1]
    corrected = {broken, *(n for _, n in chance.sample(names[1:], max(1, round(overwritten * len(names))) - 1))}
    delayed = {name for _, name in chance.sample(names[1:], max(1, round(late * len(names))))}
    writes: dict[int, list[Write]] = {}
    events: dict[int, list[str]] = {}
    for number, name in names:
        versions = [(number, Write(name, broken=name == broken))]
        if name in corrected:
            versions.append((number + chance.randint(1, 3), Write(name, 1)))
        for at, write in versions:
            writes.setdefault(at, []).append(write)
            first = at + (chance.randint(1, LATEST) if name in delayed else 0)
            times = [first, *(first + chance.randint(0, 3) for _ in range(chance.randint(1, repeats) - 1))]
            for time in times:
                events.setdefault(time, []).append(name)
    for one in events.values():
        chance.shuffle(one)
    return Deliveries(writes, events)
