"""Evaluation warnings: what each names, and when there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.core.problem import Categorical, Gate, Numeric, Problem

Case = Any
Row = dict[str, Any]


def leak(rows: int) -> tuple[Problem, list[Row]]:
    problem = Problem(name="leak", key="id", label=Numeric("y"), features=[Numeric("x"), Numeric("copy")])
    return problem, [{"id": str(i), "x": float(i % 7), "copy": i * 0.5, "y": i * 0.5} for i in range(rows)]


@pytest.mark.parametrize(("rows", "warned"), [(1000, True), (400, False)])
def test_a_metric_that_is_too_good_names_the_suspect(
    case_of: Callable[..., Case], tmp_path: Path, rows: int, warned: bool
) -> None:
    problem, table = leak(rows)
    case = case_of(tmp_path, problem, table, lambda inputs: {"prediction": inputs["copy"] + 0 * inputs["x"]})
    _, found = case.run(tmp_path / "evaluation")
    suspicious = [text for text in found["warnings"] if text.startswith("too good to be true")]
    assert bool(suspicious) is warned
    if warned:
        assert "r_squared is 1 on 100 test rows" in suspicious[0]
        assert 'the column "copy"' in suspicious[0]


def test_a_rare_class_is_not_too_good(case_of: Callable[..., Case], tmp_path: Path) -> None:
    """99 % of the rows are one class: an accuracy of 1 is what a constant nearly has."""
    import tensorflow as tf

    problem = Problem(name="rare", key="id", label=Categorical("y", vocabulary=["no", "yes"]), features=[Numeric("x")])
    rows = [{"id": str(i), "x": float(i == 15), "y": "yes" if i == 15 else "no"} for i in range(1000)]

    def answer(inputs: Row) -> Row:
        yes = inputs["x"] > 0.5
        return {"prediction": tf.where(yes, "yes", "no"), "probability": tf.where(yes, 0.9, 0.1)}

    _, found = case_of(tmp_path, problem, rows, answer).run(tmp_path / "evaluation")
    assert not [text for text in found["warnings"] if "too good" in text]
    assert found["warnings"] == [
        'y: the class "yes" has no row in the eval split: nothing is measured of it',
        'y: the class "yes" has no row in the test split: nothing is measured of it',
    ]
    # A gate on what needs both classes cannot be judged: that is a refusal.
    result, _ = case_of(tmp_path / "auc", problem, rows, answer).run(
        tmp_path / "judged", problem=Problem(**{**vars_of(problem), "gate": Gate("auc")})
    )
    assert not result.blessed
    assert "cannot be judged on 100 test rows" in result.reasons[0]


def vars_of(problem: Problem) -> dict[str, Any]:
    return {"name": problem.name, "key": problem.key, "label": problem.label, "features": problem.features}


def test_few_rows_and_slices_without_rows_are_named(case_of: Callable[..., Case], tmp_path: Path) -> None:
    problem = Problem(
        name="few",
        key="id",
        label=Numeric("y"),
        features=[Categorical("c", vocabulary=["a", "b", "never"]), Numeric("x", buckets=[100.0])],
        gate=Gate("r_squared", at_least=-9, slices=["c", "x"]),
    )
    rows = [{"id": str(i), "x": float(i % 7), "c": "b" if i % 50 == 0 else "a", "y": float(i % 7)} for i in range(500)]
    case = case_of(tmp_path, problem, rows, lambda inputs: {"prediction": inputs["x"] * 0.5})
    _, found = case.run(tmp_path / "evaluation")
    warnings = found["warnings"]
    interval = found["metrics"]["r_squared"]
    assert warnings[0] == (
        "few rows: the metrics rest on 50 test rows; the interval of r_squared is "
        f"{interval['low']:.4g} to {interval['high']:.4g}, {interval['high'] - interval['low']:.3g} wide"
    )
    assert warnings[1] == "few rows: feature importance and thresholds rest on 50 eval rows"
    assert warnings[2].startswith("few rows: the slice c=b has 10 test rows; the interval of r_squared is ")
    assert warnings[3:] == [
        'c: 2 slices ("b", "never") have no row in the eval split: nothing is measured of them',
        'c: the slice "never" has no row in the test split: nothing is measured of it',
        'x: the slice ">= 100" has no row in the eval split: nothing is measured of it',
        'x: the slice ">= 100" has no row in the test split: nothing is measured of it',
    ]
