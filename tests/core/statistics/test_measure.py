"""Statistics of parts, merged, against statistics of the whole and against numpy's."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.statistics import measure
from headrace.core.statistics.measure import (
    QUANTILES,
    CategoricalStatistics,
    NumericStatistics,
    TableStatistics,
    merge_all,
)
from headrace.core.statistics.sketches import RANK_ERROR, Quantiles

FLOATS = st.lists(st.none() | st.floats(-1e6, 1e6, width=32), max_size=30)


@given(st.lists(FLOATS, min_size=1, max_size=5))
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
def test_quantiles_are_those_of_numpy(values: list[float]) -> None:
    got = Quantiles.of(np.array(values)).quantiles(QUANTILES)
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


RANDOM = np.random.default_rng(7)
MANY = {
    "uniform": RANDOM.random(200_000),
    "normal": RANDOM.normal(size=200_000),
    "log-normal": RANDOM.lognormal(0, 3, 200_000),
    "sorted": np.arange(200_000.0),
    "clustered": np.repeat([0.0, 1.0, 1e9], [90_000, 90_000, 20_000]) + RANDOM.random(200_000) * 1e-3,
    "mostly one value": np.concatenate([np.zeros(190_000), RANDOM.random(10_000)]),
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("parts", [1, 16, 100])
def test_quantiles_of_many_numbers_are_within_the_stated_error(name: str, parts: int) -> None:
    values = MANY[name]
    measured = [TableStatistics.measure(pa.table({"x": part}), ["x"]) for part in np.array_split(values, parts)]
    merged = merge_all(pickle.loads(pickle.dumps(measured))).columns["x"]
    assert isinstance(merged, NumericStatistics)
    got = merged.to_json()
    assert got["error"] == {"quantile_rank": RANK_ERROR}
    ordered = np.sort(values)
    for share, value in zip(QUANTILES, got["quantiles"], strict=True):
        least = np.searchsorted(ordered, value, "left") / len(values)
        most = np.searchsorted(ordered, value, "right") / len(values)
        assert least - RANK_ERROR <= share <= most + RANK_ERROR
    assert (got["quantiles"][0], got["quantiles"][-1]) == (ordered[0], ordered[-1])
    again = merge_all(measured).columns["x"]
    assert isinstance(again, NumericStatistics)
    assert merged.sketch.digest == again.sketch.digest
    assert len(pickle.dumps(merged)) < 60_000


@pytest.mark.parametrize("distinct", [12, 2000, 8192])
def test_values_that_repeat_are_counted_as_they_are_sorted(distinct: int) -> None:
    # The last rows hold -0.0, which equals 0.0.
    values = np.concatenate([np.arange(20_000.0) % distinct - 5, np.full(3, -0.0)])
    sketch = NumericStatistics.measure(pa.array(values)).sketch
    of = Quantiles.of(values)
    assert sketch.digest is None
    assert sketch.values.tolist() == of.values.tolist()
    assert sketch.counts.tolist() == of.counts.tolist()


def test_values_that_repeat_at_first_only_become_a_digest() -> None:
    values = np.concatenate([np.zeros(10_000), np.arange(10_000.0)])
    assert NumericStatistics.measure(pa.array(values)).sketch.digest == Quantiles.of(values).digest is not None


def test_few_numbers_become_a_digest_when_they_meet_many() -> None:
    few = NumericStatistics.measure(pa.array(np.repeat([1.0, 2.0], 50_000)))
    many = NumericStatistics.measure(pa.array(np.arange(100_000.0) / 100_000))
    assert few.to_json().get("error") is None
    got = few.merge(many).to_json()
    assert (got["count"], got["quantiles"][0], got["quantiles"][-1]) == (200_000, 0.0, 2.0)
    assert got["quantiles"][5] == pytest.approx(0.5, abs=0.01)
    assert got["quantiles"][12:15] == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)


def test_texts_of_too_many_values_keep_the_most_frequent_within_the_stated_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "VOCABULARY_CAPACITY", 1024)
    numbers = RANDOM.zipf(1.3, 100_000).clip(max=10**9)
    texts = [str(number) for number in numbers.tolist()]
    parts = [
        CategoricalStatistics.measure(pa.array(texts[start : start + 10_000])) for start in range(0, 100_000, 10_000)
    ]
    few = CategoricalStatistics.measure(pa.array(["few", None]))
    tables = [TableStatistics(part.count + part.missing, {"x": part}) for part in [few, *parts, few]]
    merged = merge_all(pickle.loads(pickle.dumps(tables)))
    got = merged.to_json()["columns"]["x"]
    true = Counter([*texts, "few", "few"])
    error = got["error"]
    assert (got["count"], got["missing"], got["complete"]) == (100_002, 2, False)
    assert 0 < error["count"] < 100_002 * 3.5 / 1024
    assert abs(got["distinct"] - len(true)) <= len(true) * error["distinct"]
    kept = dict(got["vocabulary"])
    assert all(true[text] <= count <= true[text] + error["count"] for text, count in kept.items())
    assert {text for text, count in true.items() if count > 2 * error["count"]} <= set(kept)
    assert got["vocabulary"] == sorted(got["vocabulary"], key=lambda item: (-item[1], item[0]))
    assert merged.columns["x"] == merge_all(tables).columns["x"]
    assert len(pickle.dumps(merged)) < 100_000


def test_tables_merge_by_column_and_refuse_others() -> None:
    left = TableStatistics.measure(pa.table({"x": [1.0], "s": ["a"]}), ["x", "s"])
    assert merge_all([left, left, left]).to_json()["rows"] == 3
    with pytest.raises(ValueError, match="must be the same"):
        left.merge(TableStatistics.measure(pa.table({"x": [1.0]}), ["x"]))
    with pytest.raises(ValueError, match="of numbers"):
        left.merge(TableStatistics.measure(pa.table({"x": ["a"], "s": ["a"]}), ["x", "s"]))
    with pytest.raises(ValueError, match="one part or more"):
        merge_all([])
