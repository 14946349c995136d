"""Batcher: measures the fastest number of rows per call of a model, within bounds of time and memory."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from headrace.core.errors import UsageError
from headrace.core.sources.source import Rows

# Number of measured batches per size, without the first batch of a size, which allocates memory.
SAMPLES = 3
# Minimum improvement for a change of the size, as a fraction; less is noise.
_WORTH = 0.05
# The last batch of a part may be short, and is not a measurement of the intended size.
_WHOLE = 0.9


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of a batch.

    Attributes:
        start: rows of the first batches.
        smallest, largest: minimum and maximum rows of the search; largest is the user's limit.
        seconds: maximum time per batch, in seconds.
        bytes: maximum size of a batch's columns and predictions, in bytes.

    Raises:
        UsageError: a bound is not positive, or start is not between smallest and largest.
    """

    start: int = 16_384
    smallest: int = 256
    largest: int = 65_536
    seconds: float = 2.0
    bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.start <= self.largest:
            raise UsageError(
                "the bounds of a batch are wrong",
                expected="0 < smallest <= start <= largest",
                received=f"{self.smallest}, {self.start}, {self.largest}",
            )
        if self.seconds <= 0 or self.bytes <= 0:
            raise UsageError(
                "the bounds of a batch are wrong",
                expected="seconds and bytes above 0",
                received=f"{self.seconds}, {self.bytes}",
            )

    def capped(self, largest: int) -> BatchLimits:
        """The limits with another maximum, which also limits start and smallest."""
        return replace(
            self, largest=largest, start=min(self.start, largest), smallest=min(self.smallest, self.start, largest)
        )


class BatchSizer:
    """The size of the next batch, by measurements of earlier ones; safe to use from several threads at a time.

    It doubles the size while the time per row drops, or else halves it while the time drops, and uses the best size.
    A size that takes too long or too much memory is halved at any time. Batches do not change predictions (see
    predictor.BLOCK_ROWS), so the measurements do not affect the files.

    Attributes:
        rows: rows of the next batch.
        settled: whether the search is finished.
    """

    def __init__(self, limits: BatchLimits | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts the search.

        Args:
            limits: the bounds.
            clock: returns a time in seconds.
        """
        self.limits = limits or BatchLimits()
        self.rows = self.limits.start
        self.settled = self.limits.smallest == self.limits.largest
        self._clock = clock
        self._lock = threading.Lock()
        self._most = self.limits.largest
        self._up = True
        self._best: int | None = None
        self._seen: defaultdict[int, list[float]] = defaultdict(list)
        self._cost: dict[int, float] = {}

    @property
    def costs(self) -> dict[int, float]:
        """Median time per row, in nanoseconds, by measured size."""
        with self._lock:
            return {rows: cost * 1e9 for rows, cost in sorted(self._cost.items())}

    @contextmanager
    def measuring(self, rows: int, nbytes: int) -> Iterator[None]:
        """Measures the batch that is scored in the context, unless it fails.

        Args:
            rows: rows of the batch.
            nbytes: bytes of its columns and, approximately, its predictions.
        """
        size, begin = self.rows, self._clock()
        yield
        self.measured(size, rows, self._clock() - begin, nbytes)

    def measured(self, size: int, rows: int, seconds: float, nbytes: int) -> None:
        """Records a batch.

        Args:
            size: its intended rows.
            rows: its actual rows.
            seconds: its time, in seconds.
            nbytes: its size, in bytes.
        """
        with self._lock:
            if rows <= 0:
                return
            if seconds > self.limits.seconds or nbytes > self.limits.bytes:
                self._shrink(rows)
                return
            if self.settled or size != self.rows or rows < _WHOLE * size:
                return
            seen = self._seen[size]
            seen.append(seconds / rows)
            if len(seen) > SAMPLES:
                self._judge(size, statistics.median(seen[1:]), nbytes / rows)

    def _shrink(self, rows: int) -> None:
        """Prevents further batches with this many rows."""
        self._most = max(min(self._most, rows // 2), 1)
        self.rows = min(self.rows, self._most)
        self._up = False
        self.settled = self.settled or self.rows <= self.limits.smallest

    def _judge(self, size: int, cost: float, row_bytes: float) -> None:
        best = self._best
        better = best is None or cost < (1 - _WORTH) * self._cost[best]
        self._cost[size] = cost
        best = size if best is None or better else best
        self._best = best
        wanted: int | None = None
        if self._up:
            double = 2 * size
            fits = double * cost <= self.limits.seconds and double * row_bytes <= self.limits.bytes
            wanted = double if better and fits and double <= self._most else None
            if wanted is None and best == self.limits.start:
                self._up, wanted = False, self.limits.start // 2
        elif better:
            wanted = size // 2
        if wanted is None or wanted < self.limits.smallest:
            wanted, self.settled = best, True
        self.rows = wanted


def split(rows: Rows, most: int) -> Iterator[Rows]:
    """Splits rows into batches of at most `most`, without a copy; refused ones keep their places."""
    count = rows.batch.num_rows
    refused = rows.refused
    for begin in range(0, count, most) if count else [0]:
        end = min(begin + most, count)
        # Those after the last row of the last batch are its.
        last = rows.numbers[end - 1] if end < count else None
        mine = refused if last is None else tuple(row for row in refused if row.row <= last)
        refused = refused[len(mine) :]
        yield Rows(rows.part, rows.batch.slice(begin, end - begin), rows.numbers[begin:end], mine)
