"""Permutation importance: exact for a formula, the same on any machine, bounded in rows and predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.evaluate import artifacts
from headrace.components.evaluate.importance import MOST_PREDICTIONS, _sizes, importance
from headrace.core.problem import Categorical, Crossed, Numeric, Problem

Case = Any
Row = dict[str, Any]

SPACE = Problem(
    name="space",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x", buckets=[2.0]), Categorical("c"), Numeric("idle"), Crossed("x", "c", hash_buckets=8)],
)


@pytest.fixture(scope="module")
def formula(case_of: Callable[..., Case], tmp_path_factory: pytest.TempPathFactory) -> Case:
    """y = 10 x + (3 if c is "b"), exactly; `idle` is an input that changes nothing."""
    import tensorflow as tf

    rows = [{"id": str(i), "x": float(i // 10 % 5), "c": "ab"[i // 50 % 2], "idle": float(i)} for i in range(1000)]
    for row in rows:
        row["y"] = 10 * row["x"] + 3 * (row["c"] == "b")

    def answer(inputs: Row) -> Row:
        third = tf.cast(inputs["c"] == "b", tf.float32)
        return {"prediction": 10 * inputs["x"] + 3 * third + 0 * inputs["idle"]}

    return case_of(tmp_path_factory.mktemp("formula"), SPACE, rows, answer)


def measured(case: Case, problem: Problem = SPACE, seed: int = 1) -> Any:
    split = artifacts.open_split(str(case.examples), problem, "eval")
    return importance(problem, split, artifacts.open_model(str(case.model), problem), seed=seed)


def test_the_increase_is_what_shuffling_costs(formula: Case) -> None:
    found = measured(formula)
    assert (found.metric, found.value, found.rows, found.split_rows, found.repeats) == (
        "root_mean_squared_error",
        0.0,
        100,
        100,
        3,
    )
    assert [each.name for each in found.features] == ["x", "c", "idle"]
    by_name = {each.name: each for each in found.features}
    # Two independent draws of a value differ, squared, by twice its variance.
    rows = formula.rows
    x, c = np.array([r["x"] for r in rows]), np.array([r["c"] == "b" for r in rows])
    assert by_name["x"].increase == pytest.approx(10 * np.sqrt(2 * 2.0), rel=0.15)
    assert by_name["c"].increase == pytest.approx(3 * np.sqrt(2 * 0.25), rel=0.2)
    assert (by_name["idle"].increase, by_name["idle"].deviation) == (0.0, 0.0)
    assert x.size == c.size == 100


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(formula: Case) -> None:
    first, again, other = measured(formula), measured(formula), measured(formula, seed=2)
    assert first == again
    assert first.features[0].increase != other.features[0].increase


def test_a_column_does_not_change_what_another_is_shuffled_by(formula: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one shuffle at a time give the same numbers as several together."""
    together = measured(formula)
    monkeypatch.setattr("headrace.components.evaluate.importance.BATCH_ROWS", 100)
    assert measured(formula) == together


def test_a_sample_of_a_large_split(formula: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.evaluate.importance.MOST_ROWS", 40)
    found = measured(formula)
    assert (found.rows, found.split_rows) == (40, 100)
    assert found.to_json()["rows"] == 40
    assert found.features[0].name == "x"


def test_an_answer_that_is_not_usable_leaves_its_column_out(case_of: Callable[..., Case], tmp_path: Path) -> None:
    """a and b are never both 1 in the rows: shuffled they are, and the model divides by zero."""
    problem = Problem(name="gap", key="id", label=Numeric("y"), features=[Numeric("a"), Numeric("b"), Numeric("x")])
    rows = [{"id": str(i), "a": float(i % 20 < 10), "b": float(i % 20 >= 10), "x": i / 100} for i in range(1010)]
    rows = [{**row, "a": float(i // 10 % 2), "b": float(1 - i // 10 % 2), "y": row["x"]} for i, row in enumerate(rows)]

    def answer(inputs: Row) -> Row:
        return {"prediction": inputs["x"] / (2.0 - inputs["a"] - inputs["b"])}

    case = case_of(tmp_path, problem, rows, answer)
    found = {each.name: each.increase for each in measured(case, problem).features}
    assert (found["a"], found["b"]) == (None, None)
    assert found["x"] is not None


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (100, 3, (100, 3)),
        (10**9, 3, (2000, 3)),
        (10**9, 66, (2000, 3)),
        (10**9, 1200, (333, 1)),
        (150, 50_000, (150, 1)),
    ],
)
def test_rows_and_predictions_are_bounded(rows: int, columns: int, expected: tuple[int, int]) -> None:
    assert _sizes(rows, columns) == expected
    if columns <= 1200:
        assert expected[0] * expected[1] * columns <= MOST_PREDICTIONS
