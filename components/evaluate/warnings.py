"""Evaluation warnings: metrics that are too good or of few rows, and classes and slices without rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from headrace.components.evaluate.artifacts import EvaluatedSplit
from headrace.components.evaluate.bootstrap import Interval
from headrace.components.evaluate.gate import SliceMetrics
from headrace.components.evaluate.slices import slice_names, values_present
from headrace.core.metrics import Outcomes
from headrace.core.problem import Gate, Numeric, Problem
from headrace.core.text import counted

if TYPE_CHECKING:
    from headrace.components.evaluate.importance import Importance
    from headrace.components.evaluate.predict import SplitPredictions

# Few real problems allow this value; most models that reach it read the label from a column.
TOO_GOOD = 0.9999
_MEASURES_OF_TRUTH = ("r_squared", "accuracy", "auc")
# Rows of a split from which such a value is not chance, and beyond which a constant would reach it too.
_ROWS_TO_DOUBT = 50
_NEARLY_ALWAYS = 0.99

# Below these numbers intervals are too wide: with 100 rows, the interval of an accuracy of 0.9 has a width of 0.12.
FEW_ROWS = 100
FEW_SLICE_ROWS = 30
_NAMED = 5


def too_good(
    metrics: Mapping[str, float | None], baseline: Mapping[str, float | None], rows: int, importance: Importance
) -> Iterator[str]:
    """Warns of r_squared, accuracy or auc of TOO_GOOD or more on 50 rows or more, and names the suspect column.

    Args:
        metrics: of the test split.
        baseline: metrics of a constant on the same rows; if they are as good, the problem is easy.
        rows: of the test split.
        importance: its first column is the suspect.
    """
    found = [name for name in _MEASURES_OF_TRUTH if (metrics.get(name) or 0.0) >= TOO_GOOD]
    if not found or rows < _ROWS_TO_DOUBT or (baseline.get("accuracy") or 0.0) >= _NEARLY_ALWAYS:
        return
    values = " and ".join(f"{name} is {metrics[name]:.6g}" for name in found)
    suspect = importance.features[0].name if importance.features else None
    column = "" if suspect is None else f'. Suspect: the column "{suspect}", without which the model predicts worst'
    yield (
        f"too good to be true: {values} on {rows:,} test rows. A column may give the label away, or be known only "
        f"after it{column}"
    )


def few_rows(
    outcomes: Outcomes, metric: str, interval: Interval, eval_rows: int, slices: Sequence[tuple[SliceMetrics, Interval]]
) -> Iterator[str]:
    """Warns of splits with fewer than FEW_ROWS rows, and of slices with fewer than FEW_SLICE_ROWS.

    Args:
        outcomes: of the test split.
        metric: the metric of the interval.
        interval: the interval on all test rows.
        eval_rows: rows of the eval split.
        slices: those of the gate, with the metric's interval.
    """
    if outcomes.rows < FEW_ROWS:
        yield f"few rows: the metrics rest on {counted(outcomes.rows, 'test row')}; {_width(metric, interval)}"
    if eval_rows < FEW_ROWS:
        yield f"few rows: feature importance and thresholds rest on {counted(eval_rows, 'eval row')}"
    small = sorted((s for s in slices if s[0].rows < FEW_SLICE_ROWS), key=lambda each: each[0].rows)
    for part, of_slice in small[:_NAMED]:
        yield f"few rows: the slice {part.where} has {counted(part.rows, 'test row')}; {_width(metric, of_slice)}"
    if len(small) > _NAMED:
        yield f"few rows: {len(small) - _NAMED} more slices have fewer than {FEW_SLICE_ROWS} test rows"


def absent_classes(problem: Problem, splits: Sequence[tuple[EvaluatedSplit, SplitPredictions]]) -> Iterator[str]:
    """Warns of classes of the label's vocabulary that have no row in train, eval or test."""
    classes = splits[0][1].outcomes[0].classes
    if not classes:
        return
    counted_in_train = dict(splits[0][0].statistics[problem.label.name].get("vocabulary") or ())
    present = {"train": {name for name in classes if counted_in_train.get(name)}}
    for split, predicted in splits:
        present[split.name] = {classes[code] for code in np.unique(predicted.outcomes[0].label).tolist()}
    for name, found in present.items():
        if absent := [each for each in classes if each not in found]:
            yield f"{problem.label.name}: {_without_rows(absent, 'class', 'classes', name)}"


def absent_slices(
    problem: Problem, gate: Gate | None, splits: Sequence[tuple[EvaluatedSplit, SplitPredictions]]
) -> Iterator[str]:
    """Warns of values of the features that the gate slices by that have no row in a split."""
    columns = {column.name: column for column in problem.measured(splits[0][0].statistics).columns}
    for feature in gate.slices if gate is not None else ():
        declared = columns[feature]
        measured = splits[0][0].statistics.get(feature, {})
        of_train = {str(value): int(rows) for value, rows in measured.get("vocabulary") or ()}
        names = slice_names(declared) or list(of_train)
        present = {} if isinstance(declared, Numeric) or not of_train else {"train": set(of_train)}
        for split, predicted in splits:
            column = predicted.columns[feature]
            present[split.name] = values_present(declared, column)
        for name, found in present.items():
            if absent := [each for each in names if each not in found]:
                yield f"{feature}: {_without_rows(absent, 'slice', 'slices', name)}"


def _width(metric: str, interval: Interval) -> str:
    if interval is None:
        return f"{metric} has no interval there"
    low, high = interval
    return f"the interval of {metric} is {low:.4g} to {high:.4g}, {high - low:.3g} wide"


def _without_rows(names: Sequence[str], one: str, many: str, split: str) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    what = f"the {one} {shown} has" if len(names) == 1 else f"{len(names)} {many} ({shown}) have"
    them = "it" if len(names) == 1 else "them"
    effect = f"the model cannot learn {them}" if split == "train" else f"nothing is measured of {them}"
    return f"{what} no row in the {split} split: {effect}"
