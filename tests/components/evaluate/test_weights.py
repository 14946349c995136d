"""Evaluation by sample weights: metrics, intervals, slices, gate and baseline, and what stays a count of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as peer

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Costs, Gate, Numeric, Problem, Training

# Cases of conftest.py, which is no module that tests can import.
Row = dict[str, Any]


def weighted(births: list[Row]) -> list[Row]:
    """Twins weigh ten times as much as others do, and every seventh row nothing."""
    return [
        {
            **row,
            "light": "yes" if row["weight_pounds"] < 6 else "no",
            "w": (n % 7) * (10.0 if row["plurality"] == "twins" else 1.0),
        }
        for n, row in enumerate(births)
    ]


def answer(inputs: Row) -> Row:
    return {"prediction": 0.25 * inputs["gestation_weeks"] - 2.5}


@pytest.fixture(scope="module")
def case(case_of: Callable[..., Any], births: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Any:
    gate = Gate("root_mean_squared_error", at_most=9.0, slices=["plurality"], minimum_slice_size=2)
    features = [Numeric("gestation_weeks"), Categorical("plurality")]
    problem = Problem("natality", "record_id", Numeric("weight_pounds"), features, gate=gate, weight="w")
    return case_of(tmp_path_factory.mktemp("weighted"), problem, weighted(births), answer)


def test_regression_is_measured_by_weight(case: Any, births: list[Row], tmp_path: Path) -> None:
    _, found = case.run(tmp_path / "evaluation")
    label = np.array([np.float32(row["weight_pounds"]) for row in case.rows], float)
    prediction = np.array([0.25 * row["gestation_weeks"] - 2.5 for row in case.rows])
    weight = np.array([row["w"] for row in case.rows])
    value = {name: measured["value"] for name, measured in found["metrics"].items()}
    assert value["root_mean_squared_error"] == pytest.approx(
        peer.root_mean_squared_error(label, prediction, sample_weight=weight), rel=1e-6
    )
    assert value["r_squared"] == pytest.approx(peer.r2_score(label, prediction, sample_weight=weight), rel=1e-5)
    plain = peer.root_mean_squared_error(label, prediction)
    assert abs(value["root_mean_squared_error"] / plain - 1) > 0.02
    assert all(measured["low"] < measured["value"] < measured["high"] for measured in found["metrics"].values())
    # Rows are counted as they are.
    assert (found["weight"], found["rows"]) == ("w", len(case.rows))
    twins = np.array([row["plurality"] == "twins" for row in case.rows])
    part = next(s for s in found["slices"] if s["value"] == "twins")
    assert part["rows"] == twins.sum()
    assert part["metrics"]["mean_absolute_error"]["value"] == pytest.approx(
        peer.mean_absolute_error(label[twins], prediction[twins], sample_weight=weight[twins]), rel=1e-6
    )
    # The baseline is the mean by weight.
    train = [row for n, row in enumerate(weighted(births)) if n % 10 > 1]
    mean = np.average([row["weight_pounds"] for row in train], weights=[row["w"] for row in train])
    assert found["baseline"]["mean_bias"] == pytest.approx(mean - np.average(label, weights=weight), rel=1e-5)


def test_the_gate_and_its_slices_judge_by_weight(case: Any, tmp_path: Path) -> None:
    _, found = case.run(tmp_path / "evaluation")
    by_weight = found["metrics"]["root_mean_squared_error"]["value"]
    gates = {
        bound: dataclasses.replace(case.problem.gate, at_most=bound, slices=())
        for bound in (by_weight + 1e-6, by_weight - 1e-6)
    }
    passed = [case.run(tmp_path / "evaluation", problem=case.with_gate(gate))[0].blessed for gate in gates.values()]
    assert passed == [True, False]
    (check,) = [check for check in found["checks"] if check["where"] == "plurality=twins"]
    part = next(s for s in found["slices"] if s["value"] == "twins")
    assert check["measured"] == part["metrics"]["root_mean_squared_error"]["value"]


def test_class_weights_change_no_metric(binary: Any, tmp_path: Path) -> None:
    training = Training(class_weights={"yes": 5.0})
    _, plain = binary.run(tmp_path / "one")
    _, found = binary.run(tmp_path / "two", problem=dataclasses.replace(binary.problem, training=training))
    assert found["metrics"] == plain["metrics"]
    assert found["weight"] is None


def test_classes_are_measured_by_weight(case_of: Callable[..., Any], births: list[Row], tmp_path: Path) -> None:
    import tensorflow as tf

    label = Categorical("light", vocabulary=["no", "yes"])
    costs = Costs(false_positive=1, false_negative=5)
    problem = Problem("light-births", "record_id", label, [Numeric("gestation_weeks")], weight="w", costs=costs)

    def probable(inputs: Row) -> Row:
        positive = tf.clip_by_value((44.0 - inputs["gestation_weeks"]) * 0.0625, 0.0, 1.0)
        return {"prediction": tf.where(positive >= 0.5, "yes", "no"), "probability": positive}

    case = case_of(tmp_path, problem, weighted(births), probable)
    _, found = case.run(tmp_path / "evaluation")
    label_of = np.array([row["light"] == "yes" for row in case.rows], int)
    score = np.clip([(44.0 - row["gestation_weeks"]) / 16 for row in case.rows], 0, 1)
    weight = np.array([row["w"] for row in case.rows])
    value = {name: measured["value"] for name, measured in found["metrics"].items()}
    assert value["auc"] == pytest.approx(peer.roc_auc_score(label_of, score, sample_weight=weight), rel=1e-6)
    assert value["accuracy"] == pytest.approx(peer.accuracy_score(label_of, score >= 0.5, sample_weight=weight))
    # The commonest class by weight, with its share.
    train = [row for n, row in enumerate(weighted(births)) if n % 10 > 1]
    yes = sum(row["w"] for row in train if row["light"] == "yes") / sum(row["w"] for row in train)
    expected = label_of if yes > 0.5 else 1 - label_of
    assert found["baseline"]["accuracy"] == pytest.approx(np.average(expected, weights=weight))
    log_loss = -np.average(np.log(np.where(label_of, yes, 1 - yes)), weights=weight)
    assert found["baseline"]["log_loss"] == pytest.approx(log_loss, rel=1e-5)
    counts = found["curves"]["confusion_matrix"]["counts"]
    assert counts == peer.confusion_matrix(label_of, score >= 0.5).tolist()
    # Thresholds and importance are of the eval split; rows that weigh nothing are not sampled.
    rows = [row for n, row in enumerate(weighted(births)) if n % 10 == 1]
    label_of = np.array([row["light"] == "yes" for row in rows], int)
    score = np.clip([(44.0 - row["gestation_weeks"]) / 16 for row in rows], 0, 1)
    weight = np.array([row["w"] for row in rows])
    (at,) = [row for row in found["thresholds"]["table"] if row["threshold"] == 0.3]
    assert at["precision"] == pytest.approx(peer.precision_score(label_of, score >= 0.3, sample_weight=weight))
    assert at["recall"] == pytest.approx(peer.recall_score(label_of, score >= 0.3, sample_weight=weight))
    assert at["predicted_positive"] == (score >= 0.3).sum()
    missed = weight[(score < 0.3) & (label_of == 1)].sum() * 5
    false = weight[(score >= 0.3) & (label_of == 0)].sum()
    assert at["cost"] == pytest.approx((missed + false) / weight.sum())
    assert found["importance"]["rows"] == (weight > 0).sum()
    clipped = np.clip(score, 2.0**-23, 1 - 2.0**-23)
    expected = peer.log_loss(label_of, clipped, sample_weight=weight)
    assert found["importance"]["value"] == pytest.approx(expected, rel=1e-6)
    roc = found["curves"]["roc"]
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(value["auc"], abs=1e-6)


def test_a_test_split_without_any_weight_is_refused(
    case_of: Callable[..., Any], births: list[Row], tmp_path: Path
) -> None:
    features = [Numeric("gestation_weeks")]
    problem = Problem("natality", "record_id", Numeric("weight_pounds"), features, weight="w")
    rows = [{**row, "w": 0.0 if n % 10 == 0 else 1.0} for n, row in enumerate(births)]
    with pytest.raises(DataError) as caught:
        case_of(tmp_path, problem, rows, answer).run(tmp_path / "evaluation")
    assert caught.value.what == "the weight is 0 in every row of the test split"
