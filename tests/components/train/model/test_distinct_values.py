"""A value looked up once gives what it gives in every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model import distinct_values
from headrace.components.train.model.distinct_values import ByValue, Strings, decoded
from headrace.core.problem import Categorical, Crossed, ModelKind, Numeric, Problem

PROBLEM = Problem(
    name="small",
    key="id",
    label=Numeric("y"),
    features=[
        Numeric("x", buckets=[-1.0, 0.0, 2.0], optional=True),
        Categorical("color", vocabulary=["red", "blue"], embedding=2, optional=True),
        Categorical("shape", optional=True),
        Categorical("word", hash_buckets=7),
        Crossed("color", "shape", hash_buckets=11),
        Crossed("shape", "word", hash_buckets=50, embedding=3),
        Crossed("color", "shape", "word", hash_buckets=13),
        Crossed("x", "color", hash_buckets=17),
    ],
)
STATISTICS: dict[str, Any] = {
    "x": {"mean": 0.5, "standard_deviation": 2.0, "missing": 1},
    "color": {"missing": 1, "distinct": 2, "vocabulary": [["red", 5], ["blue", 3]]},
    "shape": {"missing": 1, "distinct": 2, "vocabulary": [["round", 5], ["square", 3]]},
    "word": {"missing": 0, "distinct": 3, "vocabulary": [["a", 5], ["b", 3], ["c", 1]]},
}


@pytest.mark.parametrize("most_pairs", [0, 4096])
@pytest.mark.parametrize("kind", ["wide_and_deep", "linear", "deep", "deep_and_cross"])
def test_rows_are_prepared_alike(kind: ModelKind, most_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct_values, "_MOST_PAIRS", most_pairs)
    rows, random = 500, np.random.default_rng(1)
    values = {
        "color": [b"", b"blue", b"red", b"never seen"],
        # One that no row has.
        "shape": [b"", b"square", b"unused", b"round"],
        "word": [b"", *(f"word {n}".encode() for n in range(40))],
    }
    features: dict[str, Any] = {
        name: Strings(tf.constant(random.integers(0, len(each), rows), tf.int32), tf.constant(each))
        for name, each in values.items()
    }
    features["x"] = tf.constant(np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)), tf.float32)
    prepare = ByValue(PROBLEM, STATISTICS, kind)
    expected, found = prepare(decoded(features)), prepare(features)
    assert list(found) == list(expected)
    for name, each in expected.items():
        assert found[name].dtype == each.dtype
        np.testing.assert_array_equal(found[name], each)


def test_without_strings_there_is_nothing_to_look_up() -> None:
    problem = Problem(name="numbers", key="id", label=Numeric("y"), features=[Numeric("x")])
    prepare = ByValue(problem, STATISTICS)
    np.testing.assert_array_equal(prepare({"x": tf.constant([0.5, 2.5])})["numeric"], [[0.0], [1.0]])
