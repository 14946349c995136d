"""Performance on late labels: the metrics of each window of predictions, with confidence intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.evaluate import bootstrap
from headrace.components.evaluate.bootstrap import Interval
from headrace.components.monitor.config import MonitorConfig
from headrace.components.monitor.labels import NEVER, Floats, LabelJoin, LabelledPredictions, Prints, Times, subset
from headrace.components.monitor.read import BATCH_ROWS, MonitoredBatch, times_of
from headrace.components.monitor.reference import PROBABILITY
from headrace.core import metrics, storage
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.progress import Progress, silent
from headrace.core.rows.column_faults import parsed_numbers
from headrace.core.rows.splits import fingerprint
from headrace.core.rows.validate import category_texts
from headrace.core.rules.column import NumberRule
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.values.columns import Mask, blank, texts

CONFIDENCE = 0.95
_RESAMPLES = 500
_SEED = 1
_MICROSECONDS = 1_000_000
_EVALUATION = "evaluation.json"
# Splits use the same fingerprints, so without mixing, a sample of the lowest ones would be rows of the train split.
_MIXER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class WindowMetrics:
    """Metrics of the predictions of one window that have a label.

    Attributes:
        rows: number of these predictions.
        values: value by metric; None if it is undefined.
        intervals: confidence interval by metric, at CONFIDENCE; None if it is undefined.
    """

    rows: int
    values: Mapping[str, float | None]
    intervals: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """The metrics as JSON values, in the form of evaluation.json."""
        found: dict[str, Any] = {}
        for name, value in self.values.items():
            low, high = self.intervals[name] or (None, None)
            found[name] = {"value": value, "low": low, "high": high}
        return {"rows": self.rows, "metrics": found}


def start_join(problem: Problem, config: MonitorConfig) -> LabelJoin:
    """A join without predictions and labels."""
    return LabelJoin(
        problem.task,
        classes_of(problem),
        config.joined_rows,
        config.label_wait * _MICROSECONDS,
        int(config.now * _MICROSECONDS),
    )


def add_predictions(problem: Problem, join: LabelJoin, batch: MonitoredBatch) -> None:
    """Adds the predictions of a batch to a join.

    Raises:
        DataError: the probabilities are not lists.
    """
    valid, keys, times, prediction, probability = prediction_rows(problem, batch)
    join.invalid_predictions += int((~valid).sum())
    join.add_predictions(keys[valid], times[valid], prediction[valid], probability[valid])


def prediction_rows(problem: Problem, batch: MonitoredBatch) -> tuple[Mask, Prints, Times, Floats, Floats]:
    """The predictions of a batch in the form that a join uses.

    Args:
        problem: the Problem of the predictions.
        batch: rows with the outputs `key` and `prediction`; for a binary task `probability`, and for a multiclass task
            `probabilities`.

    Returns:
        [rows] bool: whether each row is valid; and the arguments of `LabelJoin.add_predictions`, each [rows].

    Raises:
        DataError: the probabilities are not lists.
    """
    keys, has_key = _keys(batch.outputs["key"])
    prediction, valid = _values(problem, "prediction", batch.outputs["prediction"])
    probability = np.zeros((batch.rows, 0))
    if problem.task == "binary":
        probability, proper = _probability(batch.outputs["probability"])
        valid &= proper
    elif problem.task == "multiclass":
        probability, proper = _probabilities(batch.outputs["probabilities"], len(classes_of(problem)))
        valid &= proper
    valid &= has_key
    times = np.full(batch.rows, NEVER)
    if batch.times is not None and batch.timed is not None:
        times, valid = batch.times, valid & batch.timed
    return valid, keys, times, prediction, probability


def label_rows(problem: Problem, keys: pa.Array, values: pa.Array) -> tuple[Mask, Prints, Floats]:
    """Labels in the form that a join uses, each [rows]: whether a row is valid, fingerprints of keys, and values."""
    prints, valid = _keys(keys)
    found, proper = _values(problem, problem.label.name, values)
    return valid & proper, prints, found


def classes_of(problem: Problem) -> tuple[str, ...]:
    """The vocabulary of the label; empty for regression."""
    return tuple(problem.label.vocabulary or ()) if isinstance(problem.label, Categorical) else ()


def add_labels(problem: Problem, join: LabelJoin, config: MonitorConfig, report: Progress = silent) -> None:
    """Adds the table of labels to a join.

    Raises:
        DataError: a file lacks the key or the label, or is damaged.
    """
    label, rows = problem.label, 0
    wanted = [*([problem.key] if problem.key else []), "key", label.source_column, label.name]
    places: dict[str, tuple[str, str]] = {}
    for part in list_parts(config.labels, csv=config.csv):
        if part.path not in places:
            declared = [name for name, _ in source_of(part.path, config.csv).columns(part.path, wanted)]
            places[part.path] = (
                _one_of(declared, wanted[:-2], "key", part.path),
                _one_of(declared, wanted[-2:], "label", part.path),
            )
        key, value = places[part.path]
        columns = list(dict.fromkeys([key, value, *([config.label_time] if config.label_time else [])]))
        for read in read_part(part, columns, BATCH_ROWS):
            batch = read.batch
            valid, keys, values = label_rows(problem, batch.column(key), batch.column(value))
            times = np.full(batch.num_rows, NEVER)
            if config.label_time:
                times, timed = times_of(batch.column(config.label_time))
                valid &= timed
            join.invalid_labels += int((~valid).sum()) + len(read.refused)
            join.add_labels(keys[valid], times[valid], values[valid])
            rows += batch.num_rows
            report(f"joined {rows:,} labels", done=rows)


def by_window(joined: LabelledPredictions, seconds: int) -> dict[int, WindowMetrics]:
    """The metrics of the predictions with a label, by number of the window since 1970.

    Args:
        joined: predictions with a label, ascending by time.
        seconds: length of a window.
    """
    windows = joined.times // (seconds * _MICROSECONDS)
    numbers, first = np.unique(windows, return_index=True)
    bounds = itertools.pairwise([*first.tolist(), len(windows)])
    return {
        number: measure_rows(subset(joined.outcomes, slice(begin, end)))
        for number, (begin, end) in zip(numbers.tolist(), bounds, strict=True)
    }


def measure_rows(outcomes: metrics.Outcomes) -> WindowMetrics:
    """The metrics of one or more rows, with bootstrap intervals."""
    resamples = bootstrap.draw(outcomes.rows, resamples=_RESAMPLES, seed=_SEED)
    intervals = bootstrap.intervals(outcomes, resamples, confidence=CONFIDENCE)
    return WindowMetrics(outcomes.rows, metrics.measure(outcomes), intervals)


def evaluated_metric(uri: str, metric: str) -> float | None:
    """The value of a metric in an Evaluation; None for the URI "", or if the value is undefined.

    Raises:
        DataError: the folder contains no Evaluation, or the Evaluation lacks the metric.
    """
    if not uri:
        return None
    where = storage.join(uri, _EVALUATION)
    plain = storage.read_json(where)
    try:
        value = plain["metrics"][metric]["value"]
    except (KeyError, TypeError) as error:
        raise DataError(
            "the Evaluation lacks the metric of the gate", where=where, expected=metric, received=str(error)
        ) from error
    return None if value is None else float(value)


def _one_of(declared: list[str], names: list[str], what: str, path: str) -> str:
    for name in names:
        if name in declared:
            return name
    raise DataError(
        f"the table of labels has no {what}",
        where=path,
        expected=" or ".join(f'"{name}"' for name in dict.fromkeys(names)),
        received=", ".join(declared),
    )


def _keys(column: pa.Array) -> tuple[Prints, Mask]:
    """[rows] fingerprints of keys, and [rows] bool: whether a row has a key."""
    text, bad = texts(column)
    valid = text.is_valid().to_numpy(zero_copy_only=False) & ~bad
    filled = text.fill_null("")
    prints = fingerprint(filled) * _MIXER
    return prints ^ (prints >> np.uint64(32)), valid & (pc.utf8_length(filled).to_numpy() > 0)


def _values(problem: Problem, name: str, column: pa.Array) -> tuple[Floats, Mask]:
    """[rows] values of labels or predictions, or indices of their classes; and [rows] bool: whether each is valid."""
    label, present = problem.label, blank(column, problem.missing)
    if isinstance(label, Numeric):
        rule = NumberRule(label if name == label.name else Numeric("predicted"))
        values, valid, faults = parsed_numbers(rule, name, present)
        for fault in faults:
            valid = valid & ~fault.rows
        return values, valid
    text, bad = category_texts(label, present)
    places = pc.index_in(text, pa.array(label.vocabulary or (), text.type))
    valid = places.is_valid().to_numpy(zero_copy_only=False) & ~bad
    return places.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64), valid


def _probability(column: pa.Array) -> tuple[Floats, Mask]:
    values, valid, _ = parsed_numbers(NumberRule(PROBABILITY), "probability", column)
    return values, valid & (values >= 0) & (values <= 1)


def _probabilities(column: pa.Array, classes: int) -> tuple[Floats, Mask]:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(
            "the column probabilities holds no lists",
            expected=f"a list of {classes} probabilities in each row, as Parquet has it",
            received=str(kind),
        )
    valid = (pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)) == classes
    flat, present, _ = parsed_numbers(
        NumberRule(PROBABILITY), "probabilities", column.filter(pa.array(valid)).flatten()
    )
    found = np.zeros((len(column), classes))
    proper = np.zeros(len(column), np.bool_)
    found[valid] = flat.reshape(-1, classes)
    proper[valid] = (present & (flat >= 0) & (flat <= 1)).reshape(-1, classes).all(axis=1)
    return found, proper
