from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.score.batch.drift import Numbers, OutputDistributions, against_training
from headrace.core.statistics.measure import VOCABULARY_CAPACITY, CategoricalStatistics, NumericStatistics
from headrace.core.statistics.sketches import FrequentTexts

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_quantiles_are_within_a_thousandth_of_their_value(values: list[float]) -> None:
    plain = Numbers.measure(pa.array(values, pa.float32())).to_json()
    assert (plain["minimum"], plain["maximum"], plain["count"]) == (min(values), max(values), len(values))
    ordered = np.sort(np.array(values, np.float32)).astype(float)
    assert np.allclose(plain["quantiles"][0], ordered[0], rtol=0.001, atol=1e-38)
    assert np.allclose(plain["quantiles"][-1], ordered[-1], rtol=0.001, atol=1e-38)


def test_of_many_numbers_it_is_what_the_data_are_measured_as() -> None:
    values = np.random.default_rng(0).normal(7, 1.2, 100_000).astype(np.float32)
    exact = NumericStatistics.measure(pa.array(values)).to_json()
    plain = Numbers.measure(pa.array(values)).to_json()
    assert {name: plain[name] for name in ("count", "missing", "minimum", "maximum")} == {
        name: exact[name] for name in ("count", "missing", "minimum", "maximum")
    }
    assert plain["mean"] == exact["mean"]
    assert plain["standard_deviation"] == exact["standard_deviation"]
    assert plain["quantiles"] == pytest.approx(np.quantile(values, np.linspace(0, 1, 21)).tolist(), rel=0.0005)


@given(st.lists(st.lists(st.none() | FINITE, max_size=20), min_size=1, max_size=5))
def test_parts_add_up_to_the_whole_in_any_order(parts: list[list[float | None]]) -> None:
    measured = [Numbers.measure(pa.array(part, pa.float32())) for part in parts]
    merged, backwards = measured[0], measured[-1]
    for more in measured[1:]:
        merged = merged.merge(more)
    for more in measured[-2::-1]:
        backwards = backwards.merge(more)
    whole = Numbers.measure(pa.array([value for part in parts for value in part], pa.float32()))
    for made in (merged, backwards):
        assert (made.count, made.missing, made.minimum, made.maximum) == (
            whole.count,
            whole.missing,
            whole.minimum,
            whole.maximum,
        )
        assert made.cells.tolist() == whole.cells.tolist()
        assert made.rows.tolist() == whole.rows.tolist()


def test_a_record_makes_the_same_again() -> None:
    batch = pa.record_batch(
        {"p": pa.array([1.5, -2.0, None], pa.float32()), "c": ["a", "b", "a"], "n": [1, 2, 3], "l": [[1], [2], [3]]}
    )
    measured = OutputDistributions.measure(batch, batch.schema.names)
    again = OutputDistributions.from_record(json.loads(json.dumps(measured.to_record())))
    assert again.to_json() == measured.to_json()
    assert list(again.columns) == ["p", "c", "n"]
    empty = OutputDistributions.measure(batch.slice(0, 0), ["p"])
    assert (
        OutputDistributions.from_record(json.loads(json.dumps(empty.to_record()))).merge(measured).columns["p"].count
        == 2
    )
    sketch = FrequentTexts.of({"a": 3}, VOCABULARY_CAPACITY)
    sketched = OutputDistributions({"c": CategoricalStatistics(3, 0, {}, sketch)})
    assert OutputDistributions.from_record(json.loads(json.dumps(sketched.to_record()))) == sketched


def test_against_training() -> None:
    numbers = NumericStatistics.measure(pa.array(np.linspace(0, 10, 1001))).to_json()
    same = Numbers.measure(pa.array(np.linspace(0, 10, 1001).astype(np.float32))).to_json()
    moved = Numbers.measure(pa.array(np.linspace(20, 30, 1001).astype(np.float32))).to_json()
    near, far = against_training(same, numbers), against_training(moved, numbers)
    assert near is not None
    assert far is not None
    assert near["jensen_shannon"] < 0.001
    assert far["jensen_shannon"] == pytest.approx(1, abs=0.001)
    assert far["quantiles_apart"] == pytest.approx([20.0] * 21, abs=0.01)
    label = CategoricalStatistics.measure(pa.array(["a", "a", "b", "b"])).to_json()
    classes = CategoricalStatistics.measure(pa.array(["a", "a", "a", "b"])).to_json()
    apart = against_training(classes, label)
    assert apart is not None
    assert apart["l_infinity"] == 0.25
    assert against_training(same, label) is None
