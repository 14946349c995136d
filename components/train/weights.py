"""Row weights of a training: computes class weights and checks sample weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.core.errors import DataError
from headrace.core.problem import Problem, Training


def class_weights(
    problem: Problem, training: Training, statistics: Mapping[str, Mapping[str, Any]]
) -> dict[str, float] | None:
    """Computes the weight of a row of each class in the training loss, in the order of the label's vocabulary.

    "balanced" is rows / (classes * rows of the class) of the train split, as in scikit-learn. Classes without rows are
    not counted. Their weight, and the weight of classes that are not named, is 1.

    Args:
        problem: the Problem.
        training: the problem's `training`, with overrides applied.
        statistics: statistics of the train split by column name, as in statistics.json.

    Returns:
        Weights by class; None without class weights.
    """
    if training.class_weights is None:
        return None
    classes = getattr(problem.label, "vocabulary", None) or ()
    if isinstance(training.class_weights, Mapping):
        return {name: float(training.class_weights.get(name, 1.0)) for name in classes}
    counts = {name: rows for name, rows in statistics[problem.label.name]["vocabulary"] if rows}
    total = sum(counts.values())
    return {name: total / (len(counts) * counts[name]) if name in counts else 1.0 for name in classes}


def check_sample_weights(problem: Problem, statistics: Mapping[str, Mapping[str, Any]], eval_weights: Any) -> None:
    """Checks that the train split and the eval split have a sample weight above 0.

    Args:
        problem: the Problem.
        statistics: statistics of the train split by column name, as in statistics.json.
        eval_weights: [rows] sample weights of the eval split; None without weights.

    Raises:
        DataError: no weight of a split is above 0.
    """
    if problem.weight_column is None:
        return
    greatest = {"train": statistics[problem.weight_column.name]["maximum"], "eval": np.max(eval_weights)}
    for split, maximum in greatest.items():
        if not maximum:
            raise DataError(
                f'the weight "{problem.weight_column.name}" is 0 in every row of the {split} split',
                where=split,
                expected="a weight above 0 in one row or more",
                received="0",
                fix="Correct the column, or leave Problem(weight=...) out",
            )
