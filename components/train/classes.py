"""Class checks: constant labels and classes without rows, which cannot be learned or cannot be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Problem


def absent_classes(problem: Problem, statistics: Mapping[str, Mapping[str, Any]], eval_labels: Any) -> list[str]:
    """Returns warnings about classes of the label without rows, and about a constant numeric label.

    Args:
        problem: the Problem.
        statistics: statistics of the train split by column name, as in statistics.json.
        eval_labels: [rows] indices into the label's vocabulary.

    Raises:
        DataError: all rows of the train split are of one class, or no row has a class.
    """
    label = problem.label
    if not isinstance(label, Categorical):
        measured = statistics[label.name]
        if measured["minimum"] != measured["maximum"]:
            return []
        return [f'warning: the label "{label.name}" has one value in the train split: nothing can be learned']
    classes = label.vocabulary or ()
    counts = dict(statistics[label.name]["vocabulary"])
    absent = [name for name in classes if not counts.get(name)]
    if len(classes) - len(absent) < 2:
        raise DataError(
            f'the label "{label.name}" has one class in the train split: nothing can be learned',
            where="train",
            expected="rows of two classes or more",
            received=", ".join(f'"{name}": {counts.get(name, 0)} rows' for name in classes),
            fix="Give rows of the other classes, or correct the vocabulary",
        )
    unmeasured = [name for place, name in enumerate(classes) if not (np.asarray(eval_labels) == place).any()]
    found = []
    if absent:
        found.append(f"warning: {_classes(absent)} no row in the train split: the model cannot learn {_them(absent)}")
    if unmeasured:
        what = _classes(unmeasured)
        found.append(f"warning: {what} no row in the eval split: the eval loss does not cover {_them(unmeasured)}")
    return found


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _classes(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:5]) + (", ..." if len(names) > 5 else "")
    return f"the class {shown} has" if len(names) == 1 else f"{len(names)} classes ({shown}) have"
