"""Statistics of columns, measured part by part and merged: what one worker measured adds to what another did.

Parts are merged in one fixed order, so the same rows give the same bytes of statistics.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# statistics.json holds the values below which 0, 5, ..., 100 % of the rows lie.
QUANTILES = tuple(step / 20 for step in range(21))
# Distinct numbers kept exactly, with their counts; above that, half as many represent them.
QUANTILE_CAPACITY = 8192
# Distinct texts counted exactly; above that, the rarest are dropped.
VOCABULARY_CAPACITY = 1 << 17


class QuantileSketch(Protocol):
    """What a column's quantiles are taken from: `WeightedValues`, or a sketch of another kind."""

    def merge(self, other: Self) -> Self:
        """The sketch of both parts."""

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """The values at these shares of the rows."""


@dataclass(frozen=True)
class WeightedValues:
    """Distinct values in increasing order, and how many rows each stands for.

    Exact until more than QUANTILE_CAPACITY values differ. From then on each thinning moves a rank by at most
    2 / QUANTILE_CAPACITY of its rows; parts merged as a balanced tree go through log2(parts) + 1 of them.
    """

    values: Floats
    counts: Counts

    @classmethod
    def of(cls, values: Floats) -> Self:
        """From values in any order, without NaN."""
        distinct, counts = np.unique(values, return_counts=True)
        return cls(distinct, counts.astype(np.int64))._thinned()

    def merge(self, other: Self) -> Self:
        """The values of both parts."""
        distinct, places = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return type(self)(distinct, counts)._thinned()

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Linear interpolation between neighbouring ranks, as numpy.quantile does; [] of no rows."""
        if not len(self.values):
            return []
        ends = np.cumsum(self.counts)
        rank = np.asarray(shares) * (ends[-1] - 1)
        below = self.values[np.searchsorted(ends, np.floor(rank), side="right")]
        above = self.values[np.searchsorted(ends, np.ceil(rank), side="right")]
        return [float(value) for value in below + (above - below) * (rank - np.floor(rank))]

    def _thinned(self) -> Self:
        if len(self.values) <= QUANTILE_CAPACITY:
            return self
        ends = np.cumsum(self.counts)
        # Group g ends with the first value whose rank reaches its share; the least and the greatest value stay.
        bounds = np.linspace(0, ends[-1], QUANTILE_CAPACITY // 2)
        last = np.unique(np.searchsorted(ends, bounds, side="left").clip(0, len(ends) - 1))
        return type(self)(self.values[last], np.diff(ends[last], prepend=0))


@dataclass(frozen=True)
class NumericStatistics:
    """Statistics of a column of numbers.

    Attributes:
        count: rows that have a value.
        missing: rows that have none.
        mean: of the values; 0 of no values.
        squares: sum of the squared distances from the mean.
        minimum, maximum: of the values; infinite of no values.
        sketch: what the quantiles are taken from.
    """

    count: int
    missing: int
    mean: float
    squares: float
    minimum: float
    maximum: float
    sketch: WeightedValues

    @classmethod
    def measure(cls, column: pa.Array | pa.ChunkedArray) -> Self:
        """Of a column of numbers, whose nulls are missing values."""
        values = pc.drop_null(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
        mean = float(values.mean()) if len(values) else 0.0
        return cls(
            count=len(values),
            missing=column.null_count,
            mean=mean,
            squares=float(np.square(values - mean).sum()),
            minimum=float(values.min(initial=math.inf)),
            maximum=float(values.max(initial=-math.inf)),
            sketch=WeightedValues.of(values),
        )

    def merge(self, other: ColumnStatistics) -> Self:
        """Of both parts. The pairwise update of Chan, Golub and LeVeque (1979), which does not cancel.

        Raises:
            ValueError: the other part is not of numbers.
        """
        if not isinstance(other, NumericStatistics):
            raise ValueError("both parts must be of numbers, got one of texts")
        count = self.count + other.count
        distance = other.mean - self.mean
        share = other.count / count if count else 0.0
        return dataclasses.replace(
            self,
            count=count,
            missing=self.missing + other.missing,
            mean=self.mean + distance * share,
            squares=self.squares + other.squares + distance * distance * self.count * share,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            sketch=self.sketch.merge(other.sketch),
        )

    def to_json(self) -> dict[str, Any]:
        """As statistics.json holds it; the deviation is the population's. None stands for what no values have."""
        return {
            "kind": "numeric",
            "count": self.count,
            "missing": self.missing,
            "mean": self.mean if self.count else None,
            "standard_deviation": math.sqrt(self.squares / self.count) if self.count else None,
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
            "quantiles": self.sketch.quantiles(QUANTILES),
        }


@dataclass(frozen=True)
class CategoricalStatistics:
    """Statistics of a column of texts.

    Attributes:
        count: rows that have a value.
        missing: rows that have none.
        counts: rows of each value, the most frequent first, equals in the order of their text.
        complete: whether `counts` has every value; above VOCABULARY_CAPACITY the rarest are dropped.
    """

    count: int
    missing: int
    counts: dict[str, int]
    complete: bool = True

    @classmethod
    def measure(cls, column: pa.Array | pa.ChunkedArray) -> Self:
        """Of a column of strings, whose nulls are missing values."""
        present = pc.drop_null(column)
        counted = pc.value_counts(present)
        counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        return cls(len(present), column.null_count, counts)._ordered()

    def merge(self, other: ColumnStatistics) -> Self:
        """Of both parts.

        Raises:
            ValueError: the other part is not of texts.
        """
        if not isinstance(other, CategoricalStatistics):
            raise ValueError("both parts must be of texts, got one of numbers")
        counts = dict(self.counts)
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        return dataclasses.replace(
            self,
            count=self.count + other.count,
            missing=self.missing + other.missing,
            counts=counts,
            complete=self.complete and other.complete,
        )._ordered()

    def _ordered(self) -> Self:
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return dataclasses.replace(
            self,
            counts=dict(ordered[:VOCABULARY_CAPACITY]),
            complete=self.complete and len(ordered) <= VOCABULARY_CAPACITY,
        )

    def to_json(self) -> dict[str, Any]:
        """As statistics.json holds it."""
        return {
            "kind": "categorical",
            "count": self.count,
            "missing": self.missing,
            "distinct": len(self.counts),
            "vocabulary": [list(item) for item in self.counts.items()],
            **({} if self.complete else {"complete": False}),
        }


ColumnStatistics = NumericStatistics | CategoricalStatistics


@dataclass(frozen=True)
class TableStatistics:
    """Statistics of a table's columns, by name."""

    rows: int
    columns: dict[str, ColumnStatistics]

    @classmethod
    def measure(cls, table: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Self:
        """Of these columns, strings as categories and all others as numbers."""
        measured: dict[str, ColumnStatistics] = {}
        for name in names:
            column = table.column(name)
            textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            kind = CategoricalStatistics if textual else NumericStatistics
            measured[name] = kind.measure(column)
        return cls(table.num_rows, measured)

    def merge(self, other: Self) -> Self:
        """Of both parts, which have the same columns of the same kinds.

        Raises:
            ValueError: they do not.
        """
        if list(self.columns) != list(other.columns):
            raise ValueError(f"columns must be the same, got {list(self.columns)} and {list(other.columns)}")
        merged: dict[str, ColumnStatistics] = {}
        for name, column in self.columns.items():
            merged[name] = column.merge(other.columns[name])
        return type(self)(self.rows + other.rows, merged)

    def to_json(self) -> dict[str, Any]:
        """As statistics.json holds it."""
        return {
            "format": 1,
            "rows": self.rows,
            "columns": {name: column.to_json() for name, column in self.columns.items()},
        }


def merge_all(parts: Sequence[TableStatistics]) -> TableStatistics:
    """Merges parts in their order, as a balanced tree: thinned sketches lose least that way.

    Raises:
        ValueError: there are no parts.
    """
    if not parts:
        raise ValueError("there must be one part or more, got none")
    level = list(parts)
    while len(level) > 1:
        pairs = [left.merge(right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]
