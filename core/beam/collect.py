"""Stateful Beam stages: deduplication by id, and grouping of elements by time window.

A window is a key with state instead of a Beam window, because Beam drops elements that arrive after the allowed
lateness, and no element may be lost. A bag buffers the elements of a window until the watermark passes the end of the
window plus its grace period. Later elements form another bag of the same window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BooleanCoder, BytesCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from headrace.core.beam.windows import Windows

# Tag of elements with a repeated id.
REPEATED = "repeated"


class Unique(beam.DoFn):
    """(id, element) -> element, for the first element of an id; repeated elements go to the output REPEATED.

    Args:
        seconds: time, in seconds, for which an id is remembered.
    """

    SEEN = ReadModifyWriteStateSpec("seen", BooleanCoder())
    FORGET = TimerSpec("forget", TimeDomain.REAL_TIME)

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def process(
        self,
        element: tuple[str, Any],
        seen: Any = beam.DoFn.StateParam(SEEN),
        forget: Any = beam.DoFn.TimerParam(FORGET),
    ) -> Iterator[Any]:
        """Emits the first element of an id."""
        if seen.read():
            yield beam.pvalue.TaggedOutput(REPEATED, element[1])
            return
        seen.write(True)
        forget.set(Timestamp.now() + self._seconds)
        yield element[1]

    @on_timer(FORGET)
    def forgotten(self, seen: Any = beam.DoFn.StateParam(SEEN)) -> None:
        """Forgets the id."""
        seen.clear()


class Collect(beam.DoFn):
    """(window, element) -> (window, [elements]), once the watermark passes the window's end plus its grace period.

    Args:
        windows: definition of the windows, whose names are the keys.
        settle_seconds: extra time, in seconds, that a window stays open after its end, because the DirectRunner's
            watermark is the clock, even while older messages wait in the subscription. 0 relies on the watermark.
    """

    BAG = BagStateSpec("elements", BytesCoder())
    OVER = TimerSpec("over", TimeDomain.WATERMARK)
    SETTLED = TimerSpec("settled", TimeDomain.REAL_TIME)

    def __init__(self, windows: Windows, settle_seconds: int) -> None:
        self._windows = windows
        self._settle = settle_seconds

    def process(
        self,
        element: tuple[str, bytes],
        bag: Any = beam.DoFn.StateParam(BAG),
        over: Any = beam.DoFn.TimerParam(OVER),
    ) -> None:
        """Buffers an element."""
        bag.add(element[1])
        over.set(Timestamp(self._windows.closes(element[0]).timestamp()))

    @on_timer(OVER)
    def is_over(
        self,
        window: str = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        settled: Any = beam.DoFn.TimerParam(SETTLED),
    ) -> Iterator[tuple[str, list[bytes]]]:
        """Emits the window, or starts its settling time."""
        if self._settle:
            settled.set(Timestamp.now() + self._settle)
            return
        yield from self._emptied(window, bag)

    @on_timer(SETTLED)
    def is_settled(
        self, window: str = beam.DoFn.KeyParam, bag: Any = beam.DoFn.StateParam(BAG)
    ) -> Iterator[tuple[str, list[bytes]]]:
        """Emits the window after its settling time."""
        yield from self._emptied(window, bag)

    @staticmethod
    def _emptied(window: str, bag: Any) -> Iterator[tuple[str, list[bytes]]]:
        held = list(bag.read())
        bag.clear()
        if held:
            yield window, held
