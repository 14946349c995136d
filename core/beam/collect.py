"""Stateful Beam stages: elements of a window of time together, and elements of an id once.

A window is a key with state, not a window of Beam's: Beam drops what comes after the allowed lateness, and here nothing
is dropped. A bag holds a window's elements until the watermark has passed its end and its grace. What comes later is
another bag of the same window.
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

# The tag of elements whose id came before.
REPEATED = "repeated"


class Unique(beam.DoFn):
    """(id, element) -> element, once within a time; repetitions under the tag REPEATED.

    Args:
        seconds: how long an id is remembered.
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
        """Passes the first element of an id."""
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
    """(window, encoded) -> (window, all of it): when the watermark has passed the window's end and grace.

    Args:
        windows: whose names are the keys.
        settle_seconds: a window that is over stays open for so long after its last element: the DirectRunner's
            watermark is the time, also while older messages wait in the subscription. 0 relies on the watermark.
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
        """Holds an element."""
        bag.add(element[1])
        over.set(Timestamp(self._windows.closes(element[0]).timestamp()))

    @on_timer(OVER)
    def is_over(
        self,
        window: str = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        settled: Any = beam.DoFn.TimerParam(SETTLED),
    ) -> Iterator[tuple[str, list[bytes]]]:
        """The window's time is over."""
        if self._settle:
            settled.set(Timestamp.now() + self._settle)
            return
        yield from self._emptied(window, bag)

    @on_timer(SETTLED)
    def is_settled(
        self, window: str = beam.DoFn.KeyParam, bag: Any = beam.DoFn.StateParam(BAG)
    ) -> Iterator[tuple[str, list[bytes]]]:
        """No element came for a while."""
        yield from self._emptied(window, bag)

    @staticmethod
    def _emptied(window: str, bag: Any) -> Iterator[tuple[str, list[bytes]]]:
        held = list(bag.read())
        bag.clear()
        if held:
            yield window, held
