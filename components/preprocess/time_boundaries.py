"""Time boundaries: the times at which the fractions of the rows are reached, exactly and in bounded memory.

A first pass reads only the column of times, and writes 8 bytes per row to a temporary file. The values there are
counted by 16 bits at a time, so the result does not depend on the order of rows or on files, batches and formats. All
rows with a time count, including quarantined ones.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Problem, Splits
from headrace.core.rows.derive import with_derived
from headrace.core.rows.read import read_column, read_rows, split_column
from headrace.core.rows.split_rule import moments, numbers
from headrace.core.rules.fault import shown
from headrace.core.sources.source import Part
from headrace.core.values.columns import blank, json_value

# Values whose order as unsigned numbers is that of the times.
Ordered = npt.NDArray[np.uint64]

_SIGN = np.uint64(1 << 63)
_CHUNK = 1 << 20
_DIGIT_BITS = 16
_SHOWN = 3
_EPOCH = datetime.datetime(1970, 1, 1)


def check_declared(problem: Problem, output: str) -> None:
    """Checks that rows can be added to Examples later: that no boundary depends on all rows.

    Raises:
        UsageError: a boundary depends on all rows.
    """
    if problem.splits.is_measured:
        raise UsageError(
            "rows cannot be added to Examples whose splits are fractions in time",
            where=output,
            expected=f'Splits(time="{problem.splits.time}", eval_from=..., test_from=...)',
            received="boundaries that move with every row that is added",
            fix="Give the boundaries in the Problem file, or preprocess all the data again",
        )


def measured_splits(problem: Problem, data: str, parts: Sequence[Part], batch_rows: int) -> Splits:
    """The Problem's splits with the time boundaries for its fractions.

    The eval split begins at the time of the row with the rank train x rows, and the test split at that of rank (train +
    eval) x rows, counted from the oldest one. Where several rows have that time, all of them are in the later split.
    Each split gets one time or more.

    Args:
        problem: its splits are `is_measured`.
        data: the data, for errors.
        parts: parts of the data.
        batch_rows: rows per batch.

    Raises:
        DataError: there are fewer than three different times, or the data is damaged.
    """
    name, splits = problem.splits.column, problem.splits
    strange: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="headrace-times-") as folder:
        times, others = Path(folder) / "times", Path(folder) / "numbers"
        with times.open("wb") as of_times, others.open("wb") as of_numbers:
            for part in parts:
                for times_of_rows in _times(problem, part, batch_rows):
                    column = blank(times_of_rows, problem.missing)
                    moment, is_moment = moments(column)
                    of_times.write((moment[is_moment].view(np.uint64) ^ _SIGN).tobytes())
                    value, is_number = numbers(column)
                    of_numbers.write(_ordered(value[is_number & ~is_moment]).tobytes())
                    if len(strange) < _SHOWN and not (is_moment | is_number).all():
                        neither = column.filter(pa.array(~(is_moment | is_number))).drop_null()
                        strange |= dict.fromkeys(shown(json_value(each)) for each in neither[:_SHOWN])
        # A column holds times or numbers; the minority goes to quarantine.
        timed = times.stat().st_size >= others.stat().st_size
        bounds = _boundaries(_Values(times if timed else others), splits)
    if bounds is None:
        few = "fewer" if not strange else f"fewer, and {', '.join([*strange][:_SHOWN])}"
        raise DataError(
            f'the column "{name}" has too few different times to split by',
            where=data,
            expected='three different times, such as "2024-02-29 12:30:00", or numbers: one or more in each split',
            received=few,
            fix="Give more rows, or split by key or by group"
            if not strange
            else "Write the times so, or make such a column in prepare(batch) of the Problem file (reads=[...])",
        )
    eval_from, test_from = (_text(bound) if timed else _number(bound) for bound in bounds)
    return dataclasses.replace(splits, eval_from=eval_from, test_from=test_from)


def _times(problem: Problem, part: Part, batch_rows: int) -> Iterator[pa.Array]:
    """The column of times, a batch at a time; a derived one from all columns that the Problem reads."""
    name = split_column(problem)
    if name is not None:
        for rows in read_column(problem, part, name, batch_rows):
            yield rows.batch.column(0)
        return
    for rows in read_rows(problem, part, batch_rows):
        yield with_derived(problem, rows).batch.column(problem.splits.column)


class _Values:
    """The values in a file, read a chunk at a time."""

    def __init__(self, path: Path) -> None:
        self.count = path.stat().st_size // 8
        self._path = path

    def chunks(self) -> Iterator[Ordered]:
        with self._path.open("rb") as file:
            while len(chunk := np.fromfile(file, np.uint64, _CHUNK)):
                yield chunk

    def at_rank(self, rank: int) -> int:
        """The value at index `rank` in ascending order."""
        prefix = 0
        for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
            counts = np.zeros(1 << _DIGIT_BITS, np.int64)
            for chunk in self.chunks():
                if shift + _DIGIT_BITS < 64:
                    chunk = chunk[chunk >> np.uint64(shift + _DIGIT_BITS) == np.uint64(prefix)]
                digits = (chunk >> np.uint64(shift)).astype(np.int64) & ((1 << _DIGIT_BITS) - 1)
                counts += np.bincount(digits, minlength=len(counts))
            ends = np.cumsum(counts)
            digit = int(np.searchsorted(ends, rank, side="right"))
            rank -= int(ends[digit - 1]) if digit else 0
            prefix = prefix << _DIGIT_BITS | digit
        return prefix

    def above(self, value: int) -> int | None:
        """The smallest value above another one; None without one."""
        found = [int(chunk.min()) for chunk in (c[c > np.uint64(value)] for c in self.chunks()) if len(chunk)]
        return min(found, default=None)

    def below(self, value: int) -> int | None:
        """The largest value below another one; None without one."""
        found = [int(chunk.max()) for chunk in (c[c < np.uint64(value)] for c in self.chunks()) if len(chunk)]
        return max(found, default=None)


def _boundaries(values: _Values, splits: Splits) -> tuple[int, int] | None:
    if not values.count:
        return None
    first = values.at_rank(0)
    second = values.above(first)
    third = None if second is None else values.above(second)
    if second is None or third is None:
        return None
    # Decimals count as they are written: 0.8 + 0.1 is 0.9.
    train, evaluation = Fraction(str(splits.train)), Fraction(str(splits.eval))
    ranks = [min(math.ceil(share * values.count), values.count - 1) for share in (train, train + evaluation)]
    test_from = max(values.at_rank(ranks[1]), third)
    eval_from = max(values.at_rank(ranks[0]), second)
    if eval_from >= test_from:
        eval_from = values.below(test_from) or second
    return eval_from, test_from


def _ordered(values: npt.NDArray[np.float64]) -> Ordered:
    # -0.0 is 0.0. Of negative numbers, the bits are in the opposite order.
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(ordered: int) -> float:
    bits = np.uint64(ordered)
    value = (bits ^ _SIGN) if bits & _SIGN else ~bits
    number = float(np.array([value], np.uint64).view(np.float64)[0])
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number


def _text(ordered: int) -> str:
    microseconds = ordered - (1 << 63)
    moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
    return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(sep=" ")
