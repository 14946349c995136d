"""Curves of a report, the confusion matrix, and residuals by slice, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.slices import SliceRows
from headrace.core import metrics
from headrace.core.metrics import Floats, Integers, Outcomes

MOST_POINTS = 200
MOST_ROWS = 2000
CALIBRATION_BINS = 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def curves(outcomes: Outcomes, keys: NDArray[np.object_]) -> dict[str, Any]:
    """All curves of the task; `roc` and `precision_recall` are omitted if only one class occurs.

    predicted_actual (regression): keys, predictions and labels of at most MOST_ROWS rows, evenly spaced.
    confusion_matrix: counts[label][prediction], in the order of the label's vocabulary.
    Sample weights apply to calibration, roc and precision_recall; counts and points of single rows are not weighted.

    calibration: by CALIBRATION_BINS bins of equal width of the probability (of the positive class; in multiclass, of
        the predicted class): the mean probability, the fraction of rows of that class, and the number of rows.
    roc, precision_recall (binary): at most MOST_POINTS points, from the highest threshold down; a row is positive at a
        threshold if its probability is not below it. The ROC curve's first threshold is null: above every score.
    """
    if outcomes.task == "regression":
        return {"predicted_actual": _predicted_actual(outcomes, keys)}
    found: dict[str, Any] = {"confusion_matrix": _confusion(outcomes), "calibration": _calibration(outcomes)}
    if outcomes.task == "binary":
        positive, negative = metrics.ranking(outcomes)
        if positive.any() and negative.any():
            scores = -np.unique(-_probability(outcomes)).astype(np.float64)
            found["roc"] = _roc(positive, negative, scores)
            found["precision_recall"] = _precision_recall(positive, negative, scores)
    return found


def residuals_by_slice(outcomes: Outcomes, slices: Sequence[SliceRows]) -> list[dict[str, Any]]:
    """Quantiles 0.05, 0.25, 0.5, 0.75 and 0.95 of the residual, label minus prediction, in each slice (regression)."""
    residual = outcomes.label.astype(np.float64) - outcomes.prediction
    return [
        {
            "feature": part.feature,
            "value": part.value,
            "rows": len(part.rows),
            "quantiles": np.quantile(residual[part.rows], _QUANTILES).tolist(),
        }
        for part in slices
    ]


def _predicted_actual(outcomes: Outcomes, keys: NDArray[np.object_]) -> dict[str, list[Any]]:
    chosen = _spaced(outcomes.rows, MOST_ROWS)
    return {
        "key": keys[chosen].tolist(),
        "predicted": outcomes.prediction[chosen].tolist(),
        "actual": outcomes.label[chosen].tolist(),
    }


def _confusion(outcomes: Outcomes) -> dict[str, Any]:
    size = len(outcomes.classes)
    cells = outcomes.label.astype(np.int64) * size + outcomes.prediction.astype(np.int64)
    return {
        "classes": list(outcomes.classes),
        "counts": np.bincount(cells, minlength=size * size).reshape(size, size).tolist(),
    }


def _calibration(outcomes: Outcomes) -> dict[str, list[float]]:
    probability = _probability(outcomes)
    if outcomes.task == "binary":
        happened = outcomes.label == 1
    else:
        probability = probability[np.arange(outcomes.rows), outcomes.prediction.astype(np.int64)]
        happened = outcomes.label == outcomes.prediction
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    weight = np.ones(outcomes.rows) if outcomes.weight is None else outcomes.weight
    total = np.bincount(bins, weights=weight, minlength=CALIBRATION_BINS)
    filled = total > 0
    predicted = np.bincount(bins, weights=weight * probability, minlength=CALIBRATION_BINS)[filled] / total[filled]
    observed = np.bincount(bins, weights=weight * happened, minlength=CALIBRATION_BINS)[filled] / total[filled]
    return {"predicted": predicted.tolist(), "observed": observed.tolist(), "rows": rows[filled].tolist()}


def _roc(positive: Floats, negative: Floats, scores: Floats) -> dict[str, list[Any]]:
    true = np.concatenate([[0.0], np.cumsum(positive) / positive.sum()])
    false = np.concatenate([[0.0], np.cumsum(negative) / negative.sum()])
    chosen = _along(true + false)
    return {
        "false_positive_rate": false[chosen].tolist(),
        "true_positive_rate": true[chosen].tolist(),
        "threshold": [None if i == 0 else float(scores[i - 1]) for i in chosen],
    }


def _precision_recall(positive: Floats, negative: Floats, scores: Floats) -> dict[str, list[float]]:
    true, false = np.cumsum(positive), np.cumsum(negative)
    precision, recall = true / (true + false), true / positive.sum()
    chosen = _along(recall + np.cumsum(np.abs(np.diff(precision, prepend=precision[0]))))
    return {
        "precision": precision[chosen].tolist(),
        "recall": recall[chosen].tolist(),
        "threshold": scores[chosen].tolist(),
    }


def _along(distance: Floats) -> Integers:
    """Indices of at most MOST_POINTS points, evenly spaced by a distance that never falls, with both ends."""
    if len(distance) <= MOST_POINTS:
        return np.arange(len(distance))
    nearest = np.searchsorted(distance, np.linspace(distance[0], distance[-1], MOST_POINTS))
    nearest[-1] = len(distance) - 1
    return np.unique(nearest).astype(np.int64)


def _spaced(rows: int, most: int) -> Integers:
    """Indices of at most `most` of `rows` rows, evenly spaced."""
    if rows <= most:
        return np.arange(rows)
    return np.linspace(0, rows - 1, most).round().astype(np.int64)


def _probability(outcomes: Outcomes) -> Floats:
    return np.asarray(outcomes.probability, np.float64)
