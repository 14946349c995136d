"""Windows of time: counts of all columns per window, measured in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from headrace.components.monitor.columns import ColumnCounts, MonitoredColumn
from headrace.components.monitor.read import MonitoredBatch
from headrace.core.errors import DataError
from headrace.core.progress import Progress, silent

MOST_WINDOWS = 1000
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class WindowCounts:
    """The number of rows of a window, and the counts by column."""

    rows: int
    columns: Mapping[str, ColumnCounts]

    def merge(self, other: Self) -> Self:
        """The counts of both parts, which have the same columns."""
        columns = {name: counts.merge(other.columns[name]) for name, counts in self.columns.items()}  # type: ignore[arg-type]
        return type(self)(self.rows + other.rows, columns)


@dataclass(frozen=True)
class MonitoredWindows:
    """All windows with rows.

    Attributes:
        counts: counts by number of the window since 1970, ascending; only window 0 if the data has no times.
        untimed: number of rows without a time, which are in no window.
        newest: time of the newest row, in seconds since 1970; None if no row has a time.
    """

    counts: Mapping[int, WindowCounts]
    untimed: int = 0
    newest: float | None = None

    def total(self, columns: Mapping[str, MonitoredColumn]) -> WindowCounts:
        """The sum of the counts of all windows."""
        found = WindowCounts(0, {name: column.empty() for name, column in columns.items()})
        for counts in self.counts.values():
            found = found.merge(counts)
        return found


def measure(
    batches: Iterable[MonitoredBatch],
    columns: Mapping[str, MonitoredColumn],
    seconds: int,
    data: str = "",
    report: Progress = silent,
) -> MonitoredWindows:
    """Counts rows by window.

    Args:
        batches: batches of rows.
        columns: features and outputs by name.
        seconds: length of a window, in seconds.
        data: URI of the rows, for an error.
        report: receives progress.

    Raises:
        DataError: there are more than 1,000 windows, or the type of a column does not fit its declaration.
    """
    found: dict[int, WindowCounts] = {}
    untimed, rows = 0, 0
    newest: int | None = None
    for batch in batches:
        numbers, order, local = _windows(batch, seconds)
        rows += batch.rows
        untimed += batch.rows - len(local)
        if batch.times is not None and batch.timed is not None and len(local):
            latest = int(batch.times[batch.timed].max())
            newest = latest if newest is None else max(newest, latest)
        of_columns = {}
        for name, column in columns.items():
            values = batch.columns.get(name, batch.outputs.get(name))
            if values is None:
                raise ValueError(f"the column {name} does not exist")
            of_columns[name] = column.count(values if order is None else values.take(order), local, len(numbers))
        sizes = np.bincount(local, minlength=len(numbers)).tolist()
        for at, window in enumerate(numbers):
            counts = WindowCounts(sizes[at], {name: counted[at] for name, counted in of_columns.items()})
            found[window] = found[window].merge(counts) if window in found else counts
        if len(found) > MOST_WINDOWS:
            raise DataError(
                "the rows are in too many windows of time",
                where=data,
                expected=f"at most {MOST_WINDOWS:,}",
                received=f"more, of {seconds:,} seconds each",
                fix="Pass a longer --window, or fewer rows",
            )
        report(f"measured {rows:,} rows", done=rows)
    return MonitoredWindows(dict(sorted(found.items())), untimed, None if newest is None else newest / _MICROSECONDS)


def _windows(
    batch: MonitoredBatch, seconds: int
) -> tuple[list[int], pa.Array | None, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Numbers of the windows of a batch, indices that sort its rows by window (None if sorted), and each row's window.

    The window of a row is an index into the numbers. Rows without a time are left out.
    """
    if batch.times is None or batch.timed is None:
        return [0], None, np.zeros(batch.rows, np.int64)
    windows = batch.times // (seconds * _MICROSECONDS)
    sorted_ = bool(batch.timed.all()) and bool((windows[1:] >= windows[:-1]).all())
    order = None
    if not sorted_:
        rows = np.flatnonzero(batch.timed)
        rows = rows[np.argsort(windows[rows], kind="stable")]
        order, windows = pa.array(rows), windows[rows]
    numbers, local = np.unique(windows, return_inverse=True)
    return numbers.tolist(), order, local.astype(np.int64)
