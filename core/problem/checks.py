"""Problem checks: consistency of the label, features, gate, drift bounds and search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.checks import is_finite
from headrace.core.errors import ProblemError
from headrace.core.problem.features import Categorical, Crossed, Feature, Numeric, check_cross
from headrace.core.problem.gate import METRICS, Costs, Drift, Gate, Task
from headrace.core.problem.monitor import Monitor
from headrace.core.problem.tuning import Tuning


def check_label(label: Numeric | Categorical) -> None:
    """Raises ProblemError for a label that cannot be learned."""
    if not isinstance(label, Numeric | Categorical):
        raise ProblemError(
            "label is wrong", where="Problem", expected="a Numeric or a Categorical", received=repr(label)
        )
    if label.optional:
        raise ProblemError(
            "the label cannot be optional", where="Problem.label", expected="optional=False", received="True"
        )
    if isinstance(label, Categorical) and label.max_unknown is not None:
        raise ProblemError(
            "the label cannot have unknown values",
            where="Problem.label",
            expected="no max_unknown",
            received=f"max_unknown={label.max_unknown}",
        )
    if isinstance(label, Numeric) and label.buckets is not None:
        raise ProblemError(
            "a label has no buckets",
            where="Problem.label",
            expected="a Categorical for classes",
            received="Numeric with buckets",
        )
    if isinstance(label, Categorical) and (label.vocabulary is None or len(label.vocabulary) < 2):
        raise ProblemError(
            "a class label needs its classes",
            where="Problem.label",
            expected='Categorical(..., vocabulary=["no", "yes"]) with two values or more',
            received=f"vocabulary={None if label.vocabulary is None else list(label.vocabulary)!r}",
        )


def check_features(features: Sequence[Feature], label: Numeric | Categorical, key: str | None, key_name: str) -> None:
    """Raises ProblemError for features that are invalid, or conflict with each other, the label or the key."""
    if not features:
        raise ProblemError(
            "the Problem has no features", where="Problem.features", expected="a list of one or more", received="none"
        )
    seen: dict[str, Feature] = {}
    for feature in features:
        if not isinstance(feature, Numeric | Categorical | Crossed):
            raise ProblemError(
                "a feature is wrong",
                where="Problem.features",
                expected="Numeric, Categorical or Crossed",
                received=repr(feature),
            )
        if feature.name in seen:
            raise ProblemError(
                "two features have one name",
                where="Problem.features",
                expected="each name once",
                received=f'"{feature.name}" twice',
            )
        seen[feature.name] = feature
    columns = [feature for feature in features if not isinstance(feature, Crossed)]
    by_column = {declared.source_column for declared in columns}
    if label.name in seen or label.source_column in by_column:
        raise ProblemError(
            "the label is among the features",
            where="Problem.features",
            expected="features that are known before the label is",
            received=f'"{label.name}"',
        )
    used = {*by_column, label.source_column}
    if key is not None and (key in used or key_name in (*seen, label.name)):
        raise ProblemError(
            "the key is used as a feature or as the label",
            where="Problem.key",
            expected="a column that only identifies the row",
            received=f'"{key}"',
        )
    for feature in features:
        if isinstance(feature, Crossed):
            check_cross(feature, seen)


def check_gate(gate: Gate | None, task: Task, columns: Sequence[Numeric | Categorical]) -> None:
    """Raises ProblemError for a gate on a metric that the task lacks, or on invalid slices."""
    if gate is None:
        return
    if not isinstance(gate, Gate):
        raise ProblemError("gate is wrong", where="Problem", expected="a Gate", received=repr(gate))
    known = METRICS[task]
    if gate.metric and gate.metric not in known:
        raise ProblemError(
            "the metric does not exist",
            where="Problem.gate",
            expected=f"for {task}, one of {', '.join(known)}",
            received=f'"{gate.metric}"',
        )
    by_name = {column.name: column for column in columns}
    for name in gate.slices:
        if name not in by_name:
            raise ProblemError(
                f'the feature "{name}" to slice by does not exist',
                where="Problem.gate.slices",
                expected=f"names among {', '.join(by_name)}",
                received=f'"{name}"',
            )
        sliced = by_name[name]
        if isinstance(sliced, Numeric) and sliced.buckets is None:
            raise ProblemError(
                f'"{name}" is a number without buckets, and cannot be sliced by',
                where="Problem.gate.slices",
                expected=f'a Categorical, or Numeric("{name}", buckets=[...])',
                received="no buckets",
            )


def check_decision(threshold: float, costs: Costs | None, task: Task) -> None:
    """Raises ProblemError for a threshold outside (0, 1), or for a threshold or costs of a task that is not binary."""
    if not is_finite(threshold) or not 0 < threshold < 1:
        raise ProblemError("threshold is wrong", where="Problem", expected="in (0, 1)", received=repr(threshold))
    if costs is not None and not isinstance(costs, Costs):
        raise ProblemError("costs are wrong", where="Problem", expected="Costs", received=repr(costs))
    for name, declared in (("threshold", threshold != 0.5), ("costs", costs is not None)):
        if declared and task != "binary":
            raise ProblemError(
                f"{name} of a problem that is not binary",
                where=f"Problem.{name}",
                expected="a label with two classes",
                received=task,
            )


def check_drift(drift: Drift | None, columns: Sequence[Numeric | Categorical]) -> None:
    """Raises ProblemError for thresholds of a column that is not among `columns`, or that lacks this distance."""
    if drift is None:
        return
    if not isinstance(drift, Drift):
        raise ProblemError("drift is wrong", where="Problem", expected="a Drift", received=repr(drift))
    by_name = {column.name: column for column in columns}
    for name, own in drift.columns.items():
        if name not in by_name:
            raise ProblemError(
                f'the column "{name}" to compare does not exist',
                where="Problem.drift",
                expected=f"names among {', '.join(by_name)}",
                received=f'"{name}"',
            )
        if isinstance(by_name[name], Numeric) and own.l_infinity is not None:
            raise ProblemError(
                f'"{name}" is a number, and has no L-infinity distance',
                where="Problem.drift",
                expected=f'{{"{name}": Drift(jensen_shannon=...)}}',
                received=f"l_infinity={own.l_infinity}",
            )


def check_monitor(monitor: Monitor | None, columns: Sequence[Numeric | Categorical]) -> None:
    """Raises ProblemError for thresholds of a column that is not among `columns`."""
    if monitor is None:
        return
    if not isinstance(monitor, Monitor):
        raise ProblemError("monitor is wrong", where="Problem", expected="a Monitor", received=repr(monitor))
    names = [column.name for column in columns]
    for name in monitor.columns:
        if name not in names:
            raise ProblemError(
                f'the feature "{name}" to monitor does not exist',
                where="Problem.monitor",
                expected=f"names among {', '.join(names)}",
                received=f'"{name}"',
            )


def check_tuning(tuning: Tuning | None, hyperparameters: Mapping[str, Any]) -> None:
    """Raises ProblemError for a search over hyperparameters that are also set."""
    if tuning is None:
        return
    if not isinstance(tuning, Tuning):
        raise ProblemError("tuning is wrong", where="Problem", expected="a Tuning", received=repr(tuning))
    tuning.check_hyperparameters(hyperparameters)


def check_encodable(declared: Mapping[str, Any]) -> None:
    """Refuses what a JSON file in UTF-8 cannot contain: other types, NaN, infinity, and half of a surrogate pair.

    Args:
        declared: the Problem as JSON values.

    Raises:
        ProblemError: a value is one of these.
    """
    try:
        text = json.dumps(declared, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ProblemError(
            "a value is not valid JSON", where="Problem", expected="finite numbers, texts, lists", received=str(error)
        ) from error
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(error.start - 20, 0) : error.start + 20]
        raise ProblemError(
            "a text is not valid Unicode", where="Problem", expected="text that UTF-8 can hold", received=repr(around)
        ) from error
