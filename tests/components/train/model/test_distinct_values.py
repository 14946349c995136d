"""A value looked up once gives what it gives in every row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model import distinct_values
from headrace.components.train.model.distinct_values import ByValue, Strings, decoded
from headrace.components.train.model.wide_and_deep import NUMBERS
from headrace.core.problem import Categorical, Crossed, ModelKind, Numeric, Problem
from headrace.core.tfrecord.dictionaries import DistinctStrings

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


@pytest.mark.parametrize("table_pairs", [0, 1 << 16])
@pytest.mark.parametrize("kind", ["wide_and_deep", "linear", "deep", "deep_and_cross"])
def test_rows_are_prepared_alike(kind: ModelKind, table_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct_values, "_TABLE_PAIRS", table_pairs)
    # Fewer than there are: they are forgotten meanwhile, and the layers are traced.
    monkeypatch.setattr(distinct_values, "_REMEMBERED_BYTES", 30 * 200)
    monkeypatch.setattr(distinct_values, "_CALLS_BEFORE_TRACING", 2)
    rows, random = 500, np.random.default_rng(1)
    prepare = ByValue(PROBLEM, STATISTICS, kind)
    for block in range(4):
        values = {
            "color": [b"", b"blue", b"red", b"never seen"],
            # One that no row has.
            "shape": [b"", b"square", b"unused", b"round"],
            "word": [b"", *(f"word {n}".encode() for n in range(20 * block, 20 * block + 40))],
        }
        features: dict[str, Any] = {
            name: Strings(random.integers(0, len(each), rows).astype(np.int32), each) for name, each in values.items()
        }
        x = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)).astype(np.float32)
        expected = prepare({**decoded(features), "x": tf.constant(x)})
        found = prepare.rows({**features, NUMBERS: x[:, None]})
        assert list(found) == list(expected)
        for name, each in expected.items():
            assert found[name].dtype == each.dtype
            np.testing.assert_array_equal(found[name], each)


@pytest.mark.parametrize("word", ["numeric", "wide", "deep", "numbers"])
@pytest.mark.parametrize("column", ["x", "color"])
def test_a_column_may_have_the_name_of_an_output(column: str, word: str) -> None:
    names = {"x": "x", "color": "color", column: word}
    problem = Problem(
        name="small",
        key="id",
        label=Numeric("y"),
        features=[
            Numeric(names["x"], buckets=[-1.0, 2.0]),
            Categorical(names["color"], vocabulary=["red", "blue"], embedding=2),
        ],
    )
    prepare = ByValue(problem, {names[name]: STATISTICS[name] for name in names})
    x = np.float32([0.5, 2.5, -1.5])
    color = Strings(np.array([1, 0, 2], np.int32), [b"red", b"blue", b"green"])
    expected = prepare({names["x"]: tf.constant(x), names["color"]: color.decoded()})
    found = prepare.rows({names["color"]: color, NUMBERS: x[:, None]})
    assert {name: each.shape for name, each in found.items()} == {n: tuple(e.shape) for n, e in expected.items()}
    for name, each in expected.items():
        np.testing.assert_array_equal(found[name], each)


@pytest.mark.parametrize("table_pairs", [0, 30, 1 << 16])
def test_numbers_of_values_that_grow_are_kept_with_them(table_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct_values, "_TABLE_PAIRS", table_pairs)
    kept, plain = ByValue(PROBLEM, STATISTICS), ByValue(PROBLEM, STATISTICS)
    random = np.random.default_rng(2)
    values = {name: DistinctStrings() for name in ("color", "shape", "word")}
    new = {"color": [b"red", b"blue", b"green"], "shape": [b"round", b"square"], "word": [b"a", b"b", b"c", b"d"]}
    for block in range(6):
        for name, each in values.items():
            each.extend(new[name][block : block + 1])
        if block == 4:
            # The dictionary of one column begins again.
            values["shape"] = DistinctStrings()
            values["shape"].append(b"square")
        blocks = [
            {name: Strings(random.integers(0, len(each), 50).astype(np.int32), each) for name, each in values.items()}
            for _ in range(2)
        ]
        for features in blocks:
            numbers = {NUMBERS: np.zeros((50, 1), np.float32)}
            found = kept.rows({**features, **numbers})
            same = {name: Strings(each.codes, list(each.values)) for name, each in features.items()}
            for name, expected in plain.rows({**same, **numbers}).items():
                np.testing.assert_array_equal(found[name], expected)


def test_threads_may_look_up_at_once() -> None:
    prepare = ByValue(PROBLEM, STATISTICS)
    blocks = [
        {
            "color": Strings(np.arange(3, dtype=np.int32), [b"red", b"", b"blue"]),
            "shape": Strings(np.arange(3, dtype=np.int32), [b"round", b"square", b""]),
            "word": Strings(np.arange(3, dtype=np.int32), [f"{block}".encode(), b"a", f"{block + 1}".encode()]),
            NUMBERS: np.array([[0.5], [np.nan], [3.0]], np.float32),
        }
        for block in range(24)
    ]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(prepare.rows, blocks))
    alone = ByValue(PROBLEM, STATISTICS)
    for found, block in zip(together, blocks, strict=True):
        for name, each in alone.rows(block).items():
            np.testing.assert_array_equal(found[name], each)


def test_without_strings_there_is_nothing_to_look_up() -> None:
    problem = Problem(name="numbers", key="id", label=Numeric("y"), features=[Numeric("x")])
    prepare = ByValue(problem, STATISTICS)
    np.testing.assert_array_equal(prepare({"x": tf.constant([0.5, 2.5])})["numeric"], [[0.0], [1.0]])
    np.testing.assert_array_equal(prepare.rows({NUMBERS: np.float32([[0.5], [2.5]])})["numeric"], [[0.0], [1.0]])


def test_without_numbers_nothing_is_computed() -> None:
    problem = Problem(name="texts", key="id", label=Numeric("y"), features=[Categorical("color", vocabulary=["red"])])
    rows = ByValue(problem, STATISTICS).rows({"color": Strings(np.array([1, 0, 1], np.int32), [b"", b"red"])})
    assert rows["wide"].tolist() == [[2], [0], [2]]


@pytest.mark.parametrize("deviation", [1e-30, 1e-9, 0.0, 2.0, 1e20])
def test_numbers_are_normalized_as_the_model_does(deviation: float) -> None:
    problem = Problem(name="numbers", key="id", label=Numeric("y"), features=[Numeric("x"), Numeric("z")])
    statistics: dict[str, Any] = {
        "x": {"mean": 0.3 * deviation, "standard_deviation": deviation, "missing": 0},
        "z": {"mean": -7.25, "standard_deviation": 3.1, "missing": 1},
    }
    random = np.random.default_rng(3)
    x = (random.normal(size=(2000, 2)) * [deviation or 1.0, 3.1]).astype(np.float32)
    x[::7, 1], x[5], x[6] = np.nan, 0.0, np.finfo(np.float32).max
    prepare = ByValue(problem, statistics)
    expected = prepare({"x": tf.constant(x[:, 0]), "z": tf.constant(x[:, 1])})["numeric"]
    found = prepare.rows({NUMBERS: x})["numeric"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
