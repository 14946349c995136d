"""Statistics of parts, merged, against statistics of the whole and against numpy's."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.tfrecord import statistics
from headrace.components.tfrecord.statistics import (
    QUANTILES,
    CategoricalStatistics,
    NumericStatistics,
    TableStatistics,
    WeightedValues,
    merge_all,
)

FLOATS = st.lists(st.none() | st.floats(-1e6, 1e6, width=32), max_size=30)


@given(st.lists(FLOATS, min_size=1, max_size=5))
@settings(deadline=None)
def test_merged_numbers_equal_the_whole(parts: list[list[float | None]]) -> None:
    columns = [pa.array(part, pa.float32()) for part in parts]
    merged = NumericStatistics.measure(columns[0])
    for column in columns[1:]:
        merged = merged.merge(NumericStatistics.measure(column))
    whole = NumericStatistics.measure(pa.concat_arrays(columns)).to_json()
    got = merged.to_json()
    for name in ("mean", "standard_deviation"):
        if whole[name] is not None:
            # Both are rounded; values are as large as 1e6, and their squares are summed.
            assert got.pop(name) == pytest.approx(whole.pop(name), rel=1e-9, abs=1e-6)
    assert got == whole


@given(st.lists(st.lists(st.none() | st.text(max_size=3), max_size=20), min_size=1, max_size=5))
@settings(deadline=None)
def test_merged_texts_equal_the_whole(parts: list[list[str | None]]) -> None:
    columns = [pa.array(part, pa.string()) for part in parts]
    merged = CategoricalStatistics.measure(columns[0])
    for column in columns[1:]:
        merged = merged.merge(CategoricalStatistics.measure(column))
    values = [value for part in parts for value in part if value is not None]
    ordered = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    assert merged.to_json() == {
        "kind": "categorical",
        "count": len(values),
        "missing": sum(map(len, parts)) - len(values),
        "distinct": len(ordered),
        "vocabulary": [list(item) for item in ordered],
    }


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
@settings(deadline=None)
def test_quantiles_are_those_of_numpy(values: list[float]) -> None:
    got = WeightedValues.of(np.array(values)).quantiles(QUANTILES)
    assert got == pytest.approx(np.quantile(np.array(values), QUANTILES).tolist(), rel=1e-9, abs=1e-9)


def test_exact_numbers() -> None:
    measured = NumericStatistics.measure(pa.array([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, None], pa.float32()))
    got = measured.to_json()
    quantiles = got.pop("quantiles")
    assert got == {
        "kind": "numeric",
        "count": 8,
        "missing": 1,
        "mean": 5.0,
        "standard_deviation": 2.0,
        "minimum": 2.0,
        "maximum": 9.0,
    }
    assert (len(quantiles), quantiles[0], quantiles[10], quantiles[20]) == (21, 2.0, 4.5, 9.0)


def test_deviation_does_not_cancel_far_from_zero() -> None:
    values = np.arange(1000.0) + 1e9
    merged = NumericStatistics.measure(pa.array(values[:300])).merge(NumericStatistics.measure(pa.array(values[300:])))
    assert math.sqrt(merged.squares / merged.count) == pytest.approx(np.arange(1000.0).std(), rel=1e-9)


def test_no_values_have_no_numbers() -> None:
    empty = NumericStatistics.measure(pa.array([None], pa.float32()))
    expected: dict[str, Any] = dict.fromkeys(["mean", "standard_deviation", "minimum", "maximum"])
    assert empty.to_json() == {"kind": "numeric", "count": 0, "missing": 1, **expected, "quantiles": []}
    assert empty.merge(empty).to_json()["missing"] == 2


def test_many_distinct_numbers_are_thinned_within_the_stated_error() -> None:
    values = np.random.default_rng(7).permutation(200_000).astype(np.float64)
    parts = [TableStatistics.measure(pa.table({"x": part}), ["x"]) for part in np.split(values, 16)]
    merged = merge_all(parts).columns["x"]
    assert isinstance(merged, NumericStatistics)
    assert len(merged.sketch.values) <= statistics.QUANTILE_CAPACITY
    got = np.array(merged.to_json()["quantiles"])
    # The value is the rank here: log2(16) + 1 thinnings of 2 / 8192 each.
    assert np.abs(got - np.array(QUANTILES) * 199_999).max() <= 200_000 * 5 * 2 / 8192
    assert (got[0], got[-1], merged.count) == (0.0, 199_999.0, 200_000)


def test_a_vocabulary_without_end_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "VOCABULARY_CAPACITY", 2)
    measured = CategoricalStatistics.measure(pa.array(["a", "b", "b", "c", "c"])).to_json()
    assert (measured["vocabulary"], measured["complete"], measured["count"]) == ([["b", 2], ["c", 2]], False, 5)


def test_tables_merge_by_column_and_refuse_others() -> None:
    left = TableStatistics.measure(pa.table({"x": [1.0], "s": ["a"]}), ["x", "s"])
    assert merge_all([left, left, left]).to_json()["rows"] == 3
    with pytest.raises(ValueError, match="must be the same"):
        left.merge(TableStatistics.measure(pa.table({"x": [1.0]}), ["x"]))
    with pytest.raises(ValueError, match="of numbers"):
        left.merge(TableStatistics.measure(pa.table({"x": ["a"], "s": ["a"]}), ["x", "s"]))
    with pytest.raises(ValueError, match="one part or more"):
        merge_all([])
