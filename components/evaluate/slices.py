"""Slices of the test split: the rows of each value of a feature, or of each of its buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headrace.core.metrics import Integers
from headrace.core.problem import Categorical, Numeric
from headrace.core.values.scaling import scaled, unscaled

MISSING = "(missing)"
# Maximum number of values of a feature for which the report has slices although the gate does not name it.
FEW_VALUES = 12
# Maximum number of reported slices per feature with too few rows to be checked; those with the most rows are chosen.
MOST_SMALL_SLICES = 100


@dataclass(frozen=True)
class Category:
    """A categorical column of n rows.

    Attributes:
        values: the distinct values, "" for a missing one, in any order.
        codes: [n], the index of each row's value.
    """

    values: tuple[str, ...]
    codes: Integers


@dataclass(frozen=True)
class SliceRows:
    """The rows of one slice: `rows` are their indices, ascending."""

    feature: str
    value: str
    rows: Integers


def cut(
    features: Sequence[Numeric | Categorical],
    columns: Mapping[str, NDArray[np.floating] | Category],
    *,
    judged: Sequence[str],
    minimum_size: int,
) -> tuple[list[SliceRows], dict[str, int]]:
    """The slices of the `judged` features, then those of every other feature with few values.

    Values are in the order of the buckets, or by descending number of rows; missing values are last.

    Args:
        features: the features that are columns, in the order declared.
        columns: by feature: [n] values with NaN for missing, or a Category; features that are missing here have no
            slices.
        judged: the gate's slices, which are first.
        minimum_size: minimum number of rows of a slice that is checked.

    Returns:
        The slices, and the number of omitted slices of each feature with more than MOST_SMALL_SLICES small ones.
    """
    found: list[SliceRows] = []
    left_out: dict[str, int] = {}
    declared = {f.name: f for f in features}
    for name in [*judged, *(n for n in declared if n not in judged)]:
        column = columns.get(name)
        if column is None:
            continue
        category = column if isinstance(column, Category) else _bucketed(declared[name], column)
        parts = _parts(name, category, by_size=category is column)
        if name not in judged and len(parts) > FEW_VALUES:
            continue
        small = [part for part in parts if len(part.rows) < minimum_size]
        if len(small) > MOST_SMALL_SLICES:
            left_out[name] = len(small) - MOST_SMALL_SLICES
            dropped = {part.value for part in small[MOST_SMALL_SLICES:]}
            parts = [part for part in parts if part.value not in dropped]
        found += parts
    return found, left_out


def _parts(name: str, category: Category, *, by_size: bool) -> list[SliceRows]:
    counts = np.bincount(category.codes, minlength=len(category.values))
    ends = np.cumsum(counts)
    order = np.argsort(category.codes, kind="stable").astype(np.int64)
    parts = [
        SliceRows(name, value or MISSING, order[end - count : end])
        for value, count, end in zip(category.values, counts, ends, strict=True)
        if count
    ]
    if by_size:
        parts.sort(key=lambda part: (part.value == MISSING, -len(part.rows), part.value))
    return parts


def _bucketed(feature: Numeric | Categorical, values: NDArray[np.floating]) -> Category:
    """The bucket of each value: boundaries belong to the bucket above them, as in the model."""
    # The model compares in float32.
    boundaries: NDArray[np.floating] = np.asarray(_declared(feature), np.float64)
    exponent = feature.exponent if isinstance(feature, Numeric) else 0
    # A boundary beyond the range of float32 is infinite: no number of the column reaches it.
    with np.errstate(over="ignore"):
        boundaries = unscaled(scaled(boundaries, exponent), exponent) if exponent else boundaries.astype(np.float32)
    codes = np.digitize(values, boundaries)
    codes[np.isnan(values)] = len(boundaries) + 1
    return Category((*slice_names(feature), ""), codes.astype(np.int64))


def slice_names(feature: Numeric | Categorical) -> list[str]:
    """The names of the slices that a feature declares by its vocabulary or buckets; none if these are measured."""
    if isinstance(feature, Categorical):
        return list(feature.vocabulary or ())
    texts = [f"{b:g}" if float(f"{b:g}") == b else repr(float(b)) for b in _declared(feature)]
    return [f"< {texts[0]}", *(f"[{a}, {b})" for a, b in pairwise(texts)), f">= {texts[-1]}"]


def values_present(feature: Numeric | Categorical, column: NDArray[np.floating] | Category) -> set[str]:
    """The names of the slices with at least one row."""
    category = column if isinstance(column, Category) else _bucketed(feature, column)
    return {category.values[code] for code in np.unique(category.codes).tolist()}


def _declared(feature: Numeric | Categorical) -> Sequence[float]:
    return (feature.boundaries or ()) if isinstance(feature, Numeric) else ()
