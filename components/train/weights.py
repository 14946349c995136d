"""Weights of rows in training: class weights as numbers, and sample weights that leave nothing to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.core.errors import DataError
from headrace.core.problem import Problem, Training


def class_weights(
    problem: Problem, training: Training, statistics: Mapping[str, Mapping[str, Any]]
) -> dict[str, float] | None:
    """What a row of each class counts in the training loss, in the order of the label's vocabulary.

    "balanced" is rows / (classes * rows of the class) of the train split, as scikit-learn computes it. A class without
    rows is not one of these classes; it and classes that are not named count 1.

    Args:
        problem: what was declared.
        training: the problem's, with overrides in place.
        statistics: by column name, as in statistics.json.

    Returns:
        By class; None without class weights.
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
    """Checks that there are weights above 0 to train on and to evaluate with.

    Args:
        problem: what was declared.
        statistics: by column name, as in statistics.json: of the train split.
        eval_weights: [rows] of the eval split; None without weights.

    Raises:
        DataError: a split has none.
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
