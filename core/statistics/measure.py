"""Column statistics, measured part by part and merged, so that several workers can share the work.

Parts are merged in one fixed order, so the same rows give the same bytes of statistics.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.statistics.sketches import FrequentTexts, Quantiles
from headrace.core.statistics.weighted import WeightedLabel
from headrace.core.values.scaling import unscaled_number

# statistics.json holds the quantiles at 0, 5, ..., 100 % of the rows.
QUANTILES = tuple(step / 20 for step in range(21))
# Distinct texts counted exactly; above that, a sketch keeps the most frequent.
VOCABULARY_CAPACITY = 1 << 17
# Numbers by which it is decided whether a column's values repeat.
_SAMPLE = 4096


@dataclass(frozen=True)
class NumericStatistics:
    """Statistics of a numeric column.

    Attributes:
        count: rows that have a value.
        missing: rows that have none.
        mean: of the values; 0 if there are none.
        squares: sum of the squared distances from the mean.
        minimum, maximum: of the values; infinite if there are none.
        sketch: from which the quantiles are computed.
        exponent: of the column: `mean` to `sketch` are of its values divided by 2 ** exponent, as they are stored.
    """

    count: int
    missing: int
    mean: float
    squares: float
    minimum: float
    maximum: float
    sketch: Quantiles
    exponent: int = 0

    @classmethod
    def measure(cls, column: pa.Array | pa.ChunkedArray, exponent: int = 0) -> Self:
        """Measures a numeric column as it is stored, whose nulls are missing values."""
        present = pc.drop_null(column)
        values = present.cast(pa.float64()).to_numpy(zero_copy_only=False)
        mean = float(values.mean()) if len(values) else 0.0
        return cls(
            count=len(values),
            missing=column.null_count,
            mean=mean,
            squares=float(np.square(values - mean).sum()),
            minimum=float(values.min(initial=math.inf)),
            maximum=float(values.max(initial=-math.inf)),
            sketch=_quantiles(present, values),
            exponent=exponent,
        )

    def merge(self, other: ColumnStatistics) -> Self:
        """Merges two parts by the pairwise update of Chan, Golub and LeVeque (1979), which does not cancel.

        Raises:
            ValueError: the other part is not numeric, or has another exponent.
        """
        if not isinstance(other, NumericStatistics):
            raise ValueError("both parts must be of numbers, got one of texts")
        if self.exponent != other.exponent:
            raise ValueError(f"both parts must have one exponent, got {self.exponent} and {other.exponent}")
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
        """The column's entry in statistics.json, with the population's standard deviation; None where no values exist.

        Its numbers are in the column's own unit; an exponent that is not 0 is in the entry. A column with more than
        sketches.QUANTILE_CAPACITY distinct numbers has an "error": the maximum error of a quantile's rank, as a
        fraction of the rows.
        """
        return {
            "kind": "numeric",
            "count": self.count,
            "missing": self.missing,
            "mean": self._own(self.mean) if self.count else None,
            "standard_deviation": self._own(math.sqrt(self.squares / self.count)) if self.count else None,
            "minimum": self._own(self.minimum) if self.count else None,
            "maximum": self._own(self.maximum) if self.count else None,
            "quantiles": [self._own(value) for value in self.sketch.quantiles(QUANTILES)],
            **({"exponent": self.exponent} if self.exponent else {}),
            **({"error": {"quantile_rank": self.sketch.error}} if self.sketch.error else {}),
        }

    def boundaries(self, buckets: int) -> list[float]:
        """Boundaries of buckets of equally many rows, in the column's own unit; see `Quantiles.boundaries`."""
        return [self._own(boundary) for boundary in self.sketch.boundaries(buckets)]

    def _own(self, value: float) -> float:
        return unscaled_number(value, self.exponent)


def _quantiles(column: pa.Array | pa.ChunkedArray, values: npt.NDArray[np.float64]) -> Quantiles:
    # Counting values that repeat takes a quarter of the time of sorting them; of values that do not, twice as long.
    sample = values[:_SAMPLE]
    if len(sample) == _SAMPLE and len(np.unique(sample)) <= _SAMPLE // 2:
        counted = pc.value_counts(column)
        counts = counted.field("counts").to_numpy(zero_copy_only=False)
        numbers = counted.field("values").cast(pa.float64()).to_numpy(zero_copy_only=False)
        sketch = Quantiles.of_counts(numbers, counts)
        if sketch is not None:
            return sketch
    return Quantiles.of(values)


@dataclass(frozen=True)
class CategoricalStatistics:
    """Statistics of a categorical column.

    Attributes:
        count: rows that have a value.
        missing: rows that have none.
        counts: rows of each value; empty once there is a sketch.
        sketch: replaces `counts` above VOCABULARY_CAPACITY distinct values.
    """

    count: int
    missing: int
    counts: dict[str, int]
    sketch: FrequentTexts | None = None

    @property
    def complete(self) -> bool:
        """Whether `counts` holds every value."""
        return self.sketch is None

    @classmethod
    def measure(cls, column: pa.Array | pa.ChunkedArray) -> Self:
        """Measures a column of strings, whose nulls are missing values."""
        present = pc.drop_null(column)
        counted = pc.value_counts(present)
        counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        return cls(len(present), column.null_count, counts)._within_capacity()

    def merge(self, other: ColumnStatistics) -> Self:
        """Merges two parts.

        Raises:
            ValueError: the other part is not categorical.
        """
        if not isinstance(other, CategoricalStatistics):
            raise ValueError("both parts must be of texts, got one of numbers")
        count, missing = self.count + other.count, self.missing + other.missing
        counts: dict[str, int] = {}
        sketch: FrequentTexts | None = None
        if self.sketch is not None and other.sketch is not None:
            sketch = self.sketch.merge(other.sketch)
        elif self.sketch is not None:
            sketch = self.sketch.add(other.counts)
        elif other.sketch is not None:
            sketch = other.sketch.add(self.counts)
        else:
            counts = dict(self.counts)
            for value, rows in other.counts.items():
                counts[value] = counts.get(value, 0) + rows
        return type(self)(count, missing, counts, sketch)._within_capacity()

    def ordered(self) -> dict[str, int]:
        """`counts`, the most frequent value first, ties in the order of their text."""
        return dict(sorted(self.counts.items(), key=_most_frequent_first))

    def _within_capacity(self) -> Self:
        if len(self.counts) <= VOCABULARY_CAPACITY:
            return self
        return dataclasses.replace(self, counts={}, sketch=FrequentTexts.of(self.ordered(), VOCABULARY_CAPACITY))

    def to_json(self) -> dict[str, Any]:
        """The column's entry in statistics.json: the most frequent values first, ties in the order of their text.

        A column with more than VOCABULARY_CAPACITY distinct texts is not "complete", and has an "error": "count", the
        rows by which a value's count may be too high (every value of more rows than that is in the vocabulary), and
        "distinct", the relative error with 99.7 % confidence.
        """
        plain = {"kind": "categorical", "count": self.count, "missing": self.missing}
        if self.sketch is None:
            vocabulary = [list(item) for item in self.ordered().items()]
            return {**plain, "distinct": len(vocabulary), "vocabulary": vocabulary}
        counts, count_error = self.sketch.counts()
        distinct, distinct_error = self.sketch.distinct_count()
        return {
            **plain,
            "distinct": distinct,
            "vocabulary": [list(item) for item in sorted(counts.items(), key=_most_frequent_first)],
            "complete": False,
            "error": {"count": count_error, "distinct": distinct_error},
        }


def _most_frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


ColumnStatistics = NumericStatistics | CategoricalStatistics


@dataclass(frozen=True)
class TableStatistics:
    """Statistics of a table.

    Attributes:
        rows: of the table.
        columns: statistics by column.
        weighted: the sums of sample weights by label; None without weights.
    """

    rows: int
    columns: dict[str, ColumnStatistics]
    weighted: WeightedLabel | None = None

    @classmethod
    def measure(
        cls, table: pa.Table | pa.RecordBatch, names: Sequence[str], exponents: Mapping[str, int] = MappingProxyType({})
    ) -> Self:
        """Measures columns, strings as categories and all others as numbers, of the exponents by name."""
        measured: dict[str, ColumnStatistics] = {}
        for name in names:
            column = table.column(name)
            textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            measured[name] = (
                CategoricalStatistics.measure(column)
                if textual
                else NumericStatistics.measure(column, exponents.get(name, 0))
            )
        return cls(table.num_rows, measured)

    def merge(self, other: Self) -> Self:
        """Merges two parts, which must have the same columns of the same kinds.

        Raises:
            ValueError: the columns differ.
        """
        if list(self.columns) != list(other.columns):
            raise ValueError(f"columns must be the same, got {list(self.columns)} and {list(other.columns)}")
        merged: dict[str, ColumnStatistics] = {}
        for name, column in self.columns.items():
            merged[name] = column.merge(other.columns[name])
        pair = self.weighted, other.weighted
        weighted = pair[0].merge(pair[1]) if pair[0] is not None and pair[1] is not None else None
        return type(self)(self.rows + other.rows, merged, weighted)

    def to_json(self, buckets: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The content of statistics.json.

        Args:
            buckets: by column of numbers, how many buckets of equally many rows its entry is to hold the boundaries of,
                as "buckets"; see `Quantiles.boundaries`.
        """
        columns = {name: column.to_json() for name, column in self.columns.items()}
        for name, count in (buckets or {}).items():
            column = self.columns[name]
            if isinstance(column, NumericStatistics):
                columns[name]["buckets"] = column.boundaries(count)
        if self.weighted is not None:
            label = self.columns[self.weighted.label]
            exponent = label.exponent if isinstance(label, NumericStatistics) else 0
            columns[self.weighted.label]["weighted"] = self.weighted.to_json(exponent)
        return {"format": 1, "rows": self.rows, "columns": columns}


def merge_all(parts: Sequence[TableStatistics]) -> TableStatistics:
    """Merges parts in their order, as a balanced tree, which minimizes the error of sketches.

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
