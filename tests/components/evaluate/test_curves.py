"""The curves against scikit-learn's, and their size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as peer

from headrace.components.evaluate.curves import MOST_POINTS, MOST_ROWS, curves, residuals_by_slice
from headrace.components.evaluate.slices import SliceRows
from headrace.core.metrics import Outcomes


def binary(rows: int, distinct: int) -> Outcomes:
    random = np.random.default_rng(rows)
    label = random.integers(0, 2, rows)
    score = np.clip(np.round((random.beta(2, 2, rows) * 0.8 + 0.2 * label) * distinct) / distinct, 0, 1)
    return Outcomes("binary", ("no", "yes"), label, (score >= 0.5).astype(np.int64), score.astype(np.float32))


def keys(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    return np.array([f"k{i}" for i in range(rows)], object)


def test_roc_and_precision_recall_are_those_of_scikit_learn() -> None:
    outcomes = binary(500, 20)
    found = curves(outcomes, keys(500))
    assert outcomes.probability is not None
    false, true, thresholds = peer.roc_curve(outcomes.label, outcomes.probability, drop_intermediate=False)
    assert found["roc"]["threshold"][0] is None
    assert found["roc"]["threshold"][1:] == pytest.approx(thresholds[1:].tolist())
    assert found["roc"]["false_positive_rate"] == pytest.approx(false.tolist())
    assert found["roc"]["true_positive_rate"] == pytest.approx(true.tolist())
    precision, recall, thresholds = peer.precision_recall_curve(outcomes.label, outcomes.probability)
    assert found["precision_recall"]["threshold"] == pytest.approx(thresholds[::-1].tolist())
    assert found["precision_recall"]["precision"] == pytest.approx(precision[-2::-1].tolist())
    assert found["precision_recall"]["recall"] == pytest.approx(recall[-2::-1].tolist())


def test_long_curves_are_thinned_and_keep_their_ends_and_their_area() -> None:
    outcomes = binary(20_000, 1_000_000)
    found = curves(outcomes, keys(20_000))
    roc = found["roc"]
    assert 0.8 * MOST_POINTS < len(roc["threshold"]) <= MOST_POINTS
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][0]) == (0, 0)
    assert (roc["false_positive_rate"][-1], roc["true_positive_rate"][-1]) == (1, 1)
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(peer.roc_auc_score(outcomes.label, outcomes.probability), abs=0.002)
    curve = found["precision_recall"]
    assert len(curve["threshold"]) <= MOST_POINTS
    assert curve["recall"][-1] == 1
    assert np.all(np.diff(curve["threshold"]) < 0)


def test_one_class_only_has_no_curve() -> None:
    outcomes = Outcomes("binary", ("no", "yes"), np.zeros(3, int), np.zeros(3, int), np.array([0.1, 0.2, 0.3]))
    found = curves(outcomes, keys(3))
    assert set(found) == {"confusion_matrix", "calibration"}
    assert found["confusion_matrix"] == {"classes": ["no", "yes"], "counts": [[3, 0], [0, 0]]}


def test_calibration_by_hand() -> None:
    probability = np.array([0.0, 0.05, 0.55, 0.57, 1.0], np.float32)
    outcomes = Outcomes("binary", ("no", "yes"), np.array([0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 1]), probability)
    found = curves(outcomes, keys(5))["calibration"]
    assert found["rows"] == [2, 2, 1]
    assert found["predicted"] == pytest.approx([0.025, 0.56, 1.0])
    assert found["observed"] == [0.5, 0.5, 1.0]


def test_multiclass_by_hand() -> None:
    probability = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.62, 0.3, 0.08]])
    outcomes = Outcomes("multiclass", ("a", "b", "c"), np.array([0, 2, 1]), np.array([0, 1, 0]), probability)
    found = curves(outcomes, keys(3))
    assert found["confusion_matrix"]["counts"] == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert found["calibration"]["rows"] == [2, 1]
    assert found["calibration"]["observed"] == [0.0, 1.0]
    assert set(found) == {"confusion_matrix", "calibration"}


@pytest.mark.parametrize("rows", [1, 145, MOST_ROWS, 3 * MOST_ROWS + 1])
def test_predicted_against_actual(rows: int) -> None:
    label = np.arange(rows, dtype=float)
    found = curves(Outcomes("regression", (), label, label + 1), keys(rows))["predicted_actual"]
    assert len(found["key"]) == min(rows, MOST_ROWS)
    assert found["key"][0] == "k0"
    assert found["key"][-1] == f"k{rows - 1}"
    assert np.array_equal(np.array(found["predicted"]), np.array(found["actual"]) + 1)
    assert len(set(found["key"])) == len(found["key"])
    json.dumps(found, allow_nan=False)


def test_residuals_are_label_minus_prediction() -> None:
    outcomes = Outcomes("regression", (), np.array([1.0, 2.0, 3.0, 9.0]), np.array([0.0, 0.0, 0.0, 0.0]))
    found = residuals_by_slice(outcomes, [SliceRows("f", "v", np.array([0, 1, 2]))])
    assert found == [{"feature": "f", "value": "v", "rows": 3, "quantiles": pytest.approx([1.1, 1.5, 2.0, 2.5, 2.9])}]
