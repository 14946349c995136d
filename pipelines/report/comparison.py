"""Comparison of two runs: metrics with their intervals, and the options, data and code that differ."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.core import storage
from headrace.core.errors import HeadraceError, UsageError
from headrace.pipelines.report import artifacts
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.values import items, mapping, number, objects, text
from headrace.pipelines.runs.records import RunRecord, read_start, read_summary

# Parameters of a pipeline that are paths or are compared elsewhere, and are not options.
_NO_OPTIONS = frozenset(
    {
        *("baseline", "baseline_version", "csv", "data", "data_version", "destination", "endpoint", "problem"),
        *("problem_digest", "registry", "root", "run_id", "schema_digest", "started", "attempt", "warm_start_version"),
    }
)
_TRAINING = ("model", "loss", "batch_size", "learning_rate", "seed")
_STRATEGY = ("name", "precision", "xla", "workers")
# Measurements of a training, which are not options.
_USED = frozenset({"hours", "cost"})
_SOURCES = 20

Verdict = Literal["apart", "overlap", "unknown"]


@dataclass(frozen=True)
class MetricValue:
    """A metric of one run: its value and its confidence interval, each None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MetricPair:
    """A metric of both runs.

    Attributes:
        name: of the metric.
        left, right: what each run measured on its test split.
        difference: right minus left; None where either is undefined.
        intervals: "apart" or "overlap" for the confidence intervals; "unknown" where one is missing.
    """

    name: str
    left: MetricValue
    right: MetricValue
    difference: float | None
    intervals: Verdict


@dataclass(frozen=True)
class Difference:
    """A value that differs between the runs; None where a run does not have it."""

    name: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        left, right: the runs.
        metrics: those that either measured, in the order of the left one.
        same_rows: whether both were measured on the same test rows; None if not known.
        options, data, code: differences.
        problem_diff: lines of a unified diff of the two Problem files; empty where they are equal or not known.
        notes: files that could not be read.
    """

    left: RunRecord
    right: RunRecord
    metrics: tuple[MetricPair, ...]
    same_rows: bool | None
    options: tuple[Difference, ...]
    data: tuple[Difference, ...]
    code: tuple[Difference, ...]
    problem_diff: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Side:
    run: RunRecord
    start: Mapping[str, Any]
    summary: Mapping[str, Any]
    artifacts: Artifacts
    problem: str | None


def compare(left: RunRecord, right: RunRecord) -> RunComparison:
    """Compares two runs.

    Raises:
        UsageError: a run cannot be read.
    """
    a, b = _side(left), _side(right)
    rows = [side.artifacts.evaluation.get("examples_identity") for side in (a, b)]
    diff: tuple[str, ...] = ()
    if a.problem is not None and b.problem is not None and a.problem != b.problem:
        lines = (a.problem.splitlines(), b.problem.splitlines())
        diff = tuple(
            difflib.unified_diff(*lines, f"{left.run_id}/problem.py", f"{right.run_id}/problem.py", "", "", 2, "")
        )
    names = list(dict.fromkeys([*left.metrics, *right.metrics]))
    return RunComparison(
        left=left,
        right=right,
        metrics=tuple(_pair(name, left.metrics.get(name), right.metrics.get(name)) for name in names),
        same_rows=rows[0] == rows[1] if all(rows) else None,
        options=_differences(_options(a), _options(b)),
        data=_differences(_data(a), _data(b)),
        code=_differences(_code(a), _code(b)),
        problem_diff=diff,
        notes=tuple(
            why if file in why else f"{file}: {why}" for side in (a, b) for file, why in side.artifacts.unreadable
        ),
    )


def _side(run: RunRecord) -> _Side:
    if run.status == "unreadable":
        raise UsageError("the run cannot be read", where=run.folder, received=run.message)
    summary: Mapping[str, Any] = read_summary(run.folder) or {}
    found = artifacts.read(summary)
    return _Side(run, read_start(run.folder), summary, found, _problem_source(run))


def _problem_source(run: RunRecord) -> str | None:
    """The copy of the Problem file in the Model: the user's file may have changed since."""
    model = run.outputs.get("model")
    if model is None:
        return None
    try:
        return storage.read_bytes(storage.join(model, "problem.py")).decode("utf-8", "replace")
    except (HeadraceError, OSError):
        return None


def _pair(name: str, left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> MetricPair:
    a, b = _measured(left), _measured(right)
    difference = None if a.value is None or b.value is None else b.value - a.value
    verdict: Verdict = "unknown"
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        verdict = "apart" if a.high < b.low or b.high < a.low else "overlap"
    return MetricPair(name, a, b, difference, verdict)


def _measured(value: Mapping[str, Any] | None) -> MetricValue:
    known = value or {}
    return MetricValue(number(known.get("value")), number(known.get("low")), number(known.get("high")))


def _options(side: _Side) -> dict[str, str]:
    arguments = dict(mapping(side.start.get("arguments")))
    arguments |= mapping(arguments.pop("training", None))
    training = side.artifacts.training
    strategy = mapping(training.get("strategy"))
    found: dict[str, Any] = {
        name: value for name, value in arguments.items() if name not in _NO_OPTIONS and value != ""
    }
    found |= {f"training: {name}": training.get(name) for name in _TRAINING}
    found |= {f"training: strategy {name}": strategy.get(name) for name in _STRATEGY}
    found |= {
        f"training: {name}": value for name, value in mapping(training.get("budget")).items() if name not in _USED
    }
    found["training: warm start"] = mapping(training.get("warm_start")).get("model_version")
    found["training: accelerator"] = mapping(training.get("hardware")).get("accelerator")
    return _texts(found)


def _data(side: _Side) -> dict[str, str]:
    manifest, summary = side.artifacts.manifest, side.summary
    found: dict[str, Any] = {
        "data": side.run.data,
        "version": side.run.data_version or manifest.get("data_version"),
        "baseline": summary.get("baseline"),
        "csv": " ".join(map(str, items(summary.get("csv")))),
        "examples": side.artifacts.evaluation.get("examples_identity"),
    }
    found |= {name.replace("_", " "): manifest.get(name) for name in ("rows_in", "rows_out", "rows_quarantined")}
    reasons = mapping(mapping(manifest.get("quarantine")).get("reasons"))
    found |= {f"quarantined: {reason}": count for reason, count in reasons.items()}
    for source in objects(manifest.get("source"))[:_SOURCES]:
        found[f"source {source.get('file')}"] = f"{source.get('rows')} rows, {source.get('bytes')} bytes"
    columns = objects(side.artifacts.schema.get("columns"))
    found["columns"] = ", ".join(str(column.get("name")) for column in columns)
    return _texts(found)


def _code(side: _Side) -> dict[str, str]:
    summary, training = side.summary, side.artifacts.training
    versions = {**mapping(summary.get("versions")), **mapping(training.get("versions"))}
    found: dict[str, Any] = {
        "headrace": summary.get("release"),
        "problem file": summary.get("problem_file") or mapping(side.start.get("arguments")).get("problem"),
        "problem digest": summary.get("problem_digest") or mapping(side.start.get("arguments")).get("problem_digest"),
        **{f"version of {name}": value for name, value in versions.items()},
    }
    return _texts(found)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: text(value) for name, value in values.items()}
    return {name: value for name, value in texts.items() if value is not None}


def _differences(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[Difference, ...]:
    names: Iterable[str] = dict.fromkeys([*left, *right])
    return tuple(Difference(n, left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n))
