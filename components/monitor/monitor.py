"""Monitor: measures rows in windows, compares them, and publishes the Monitoring with its alarms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.monitor import alarms as events
from headrace.components.monitor import performance
from headrace.components.monitor.alarms import Alarm, Alarms, utc
from headrace.components.monitor.columns import CategoryColumn, MonitoredColumn, NumberColumn
from headrace.components.monitor.compare import ColumnReport, compare
from headrace.components.monitor.config import MonitorConfig
from headrace.components.monitor.judge import JudgedMetric, judge_ages, judge_metric, metric_of
from headrace.components.monitor.labels import JoinCounts, LabelJoin
from headrace.components.monitor.performance import WindowMetrics
from headrace.components.monitor.read import MonitoredBatch, MonitoredRows
from headrace.components.monitor.reference import FORMAT, Reference, open_reference
from headrace.components.monitor.windows import MonitoredWindows, measure
from headrace.core import storage
from headrace.core.artifacts.kinds import MONITORING
from headrace.core.errors import DataError
from headrace.core.problem import Monitor, Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.sources.open import data_version, list_paths
from headrace.core.statistics.binned import to_json
from headrace.core.statistics.sampling_error import SIGNIFICANCE
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity
from headrace.core.storage.output import check_writable, publishing

# From the content of monitoring.json and its alarms to the HTML of the page.
Render = Callable[[Mapping[str, Any], list[Mapping[str, Any]]], str]
PAGE = "monitoring.html"


@dataclass(frozen=True)
class MonitorResult:
    """Result of a measurement.

    Attributes:
        rows: number of measured rows, including those without a time.
        windows: number of windows of time with rows.
        alarms: alarms in the order of windows; ages last.
        absent: features that the data does not contain.
        labels: counts of the join with labels; None without labels.
    """

    rows: int
    windows: int
    alarms: tuple[Alarm, ...]
    absent: tuple[str, ...]
    labels: JoinCounts | None


def monitor(
    problem_file: ProblemFile,
    config: MonitorConfig,
    report: Progress = silent,
    render: Render | None = None,
    reference: Reference | None = None,
) -> MonitorResult:
    """Measures rows, writes monitoring.json and alarms.jsonl, and returns the alarms. An alarm raises no error.

    Args:
        problem_file: the loaded Problem file.
        config: inputs, output and options.
        report: receives progress.
        render: renders monitoring.html; None for no page.
        reference: the reference of `config`; None opens it.

    Raises:
        DataError: there are no rows, or the rows, the reference or the labels are damaged or do not fit the Problem.
        UsageError: an input does not exist, or the output cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    config.check_output(problem_file.path)
    check_writable(config.output)
    problem = problem_file.problem
    thresholds = problem.monitor or Monitor()
    reference = reference or open_reference(problem, config.reference, config.csv)
    names = {name: getattr(config, name) for name in ("time", "prediction", "version")}
    rows = MonitoredRows.open(problem, config.data, config.csv, **names)
    for name in rows.absent:
        report(f'warning: the data has no column "{name}", which is not monitored', lasting=True)
    columns: dict[str, MonitoredColumn] = {c.name: reference.column(problem, c) for c in rows.features}
    outputs = _outputs(problem, reference, rows)
    join = _join(problem, config, rows)
    timed = "time" in rows.outputs
    windows = measure(_batches(problem, rows, join), columns | outputs, config.window, config.data, report)
    if not windows.counts:
        raise DataError(
            "the data has no rows to measure",
            where=config.data,
            expected="one row or more, with a time",
            received=f"{windows.untimed:,} rows without a time" if windows.untimed else "no rows",
            fix=f"Check the version {config.version}" if config.version else None,
        )
    reports = dict(_reports(columns | outputs, windows, thresholds))
    measured: dict[int, WindowMetrics] = {}
    counts = None
    if join is not None:
        performance.add_labels(problem, join, config, report)
        joined = join.result()
        counts = joined.counts
        measured = performance.by_window(joined, config.window)
    maker = Alarms(problem.name, reference.digest, utc(config.now))
    spans = {number: _span(number, config.window) if timed else None for number in {*windows.counts, *measured}}
    about = config.data_version
    found: list[Alarm] = []
    judged = JudgedMetric(metric_of(problem), performance.evaluated_metric(config.evaluation, metric_of(problem)))
    for number, span in sorted(spans.items()):
        if number in reports:
            found += maker.of_columns(reports[number], outputs, thresholds, span, about)
        if number in measured:
            found += judge_metric(maker, judged, measured[number], problem, thresholds, span, about)
    ages, stale = judge_ages(maker, thresholds, config, windows.newest)
    found += stale
    document: dict[str, Any] = {
        "format": FORMAT,
        "kind": MONITORING.kind,
        "identity": config.identity,
        "problem": problem.name,
        "task": problem.task,
        "version": config.version or None,
        "measured_at": utc(config.now),
        "reference": {"kind": reference.kind, "digest": reference.digest},
        "thresholds": dataclasses.asdict(thresholds),
        "significance": SIGNIFICANCE,
        "window_seconds": config.window if timed else None,
        "rows": sum(each.rows for each in windows.counts.values()) + windows.untimed,
        "rows_without_time": windows.untimed,
        "absent": list(rows.absent),
        "columns": _totals(columns, outputs, windows),
        "windows": [_window(n, spans[n], windows, reports, measured) for n in sorted(spans)],
        "labels": None if counts is None else vars(counts),
        "metric": None if counts is None else judged.to_json(problem.gate),
        "staleness": ages,
        "alarms": len(found),
    }
    with publishing(config.output, MONITORING) as folder:
        storage.write_bytes(str(folder / events.FILE), events.lines(found))
        if render is not None:
            page = render(document, [dataclasses.asdict(alarm) for alarm in found])
            storage.write_bytes(str(folder / PAGE), page.encode())
        storage.write_json(str(folder / MONITORING.manifest), document)
    report(f"{len(found):,} alarms")
    return MonitorResult(document["rows"], len(windows.counts), tuple(found), rows.absent, counts)


def identified(
    problem_file: ProblemFile, config: MonitorConfig, csv: Sequence[str] = ()
) -> tuple[MonitorConfig, Reference]:
    """The configuration with the version of the data and its identity, and its reference.

    Args:
        problem_file: the loaded Problem file.
        config: inputs, output and options.
        csv: options of reading CSV, as NAME=VALUE.

    Raises:
        DataError: the data has no files of a supported format, or the reference or the Evaluation is damaged.
        UsageError: an input does not exist, or access is denied.
        PlatformError: the service failed.
    """
    problem = problem_file.problem
    reference = open_reference(problem, config.reference, config.csv)
    version = data_version(list_paths(config.data), config.csv)
    options = {
        name: getattr(config, name)
        for name in (
            "time",
            "label_time",
            "prediction",
            "version",
            "window",
            "label_wait",
            "joined_rows",
            "trained",
            "now",
        )
    }
    name = identity(
        "monitor",
        problem=problem.evaluation_digest,
        thresholds=dataclasses.asdict(problem.monitor or Monitor()),
        reference=reference.digest,
        data=version,
        labels=data_version(list_paths(config.labels), config.csv) if config.labels else "",
        evaluated=performance.evaluated_metric(config.evaluation, metric_of(problem)),
        csv=list(csv),
        release=release(),
        **options,
    )
    return dataclasses.replace(config, identity=name, data_version=version), reference


def _outputs(problem: Problem, reference: Reference, rows: MonitoredRows) -> dict[str, MonitoredColumn]:
    found: dict[str, MonitoredColumn] = {}
    if "prediction" in rows.outputs:
        found["prediction"] = reference.prediction(problem)
    if "probability" in rows.outputs:
        found["probability"] = reference.probability(problem)
    return found


def _join(problem: Problem, config: MonitorConfig, rows: MonitoredRows) -> LabelJoin | None:
    if not config.labels:
        return None
    needed = {"key", "prediction"}
    needed |= {"regression": set(), "binary": {"probability"}, "multiclass": {"probabilities"}}[problem.task]
    lacking = sorted(needed - rows.outputs)
    if lacking:
        raise DataError(
            f"predictions cannot be joined with labels without the column {lacking[0]}",
            where=config.data,
            expected=f"the columns {', '.join(sorted(needed))}",
            received=", ".join(sorted(rows.outputs)) or "none of them",
        )
    return performance.start_join(problem, config)


def _batches(problem: Problem, rows: MonitoredRows, join: LabelJoin | None) -> Iterator[MonitoredBatch]:
    for batch in rows.batches():
        if join is not None:
            performance.add_predictions(problem, join, batch)
        yield batch


def _reports(
    columns: Mapping[str, MonitoredColumn], windows: MonitoredWindows, thresholds: Monitor
) -> Iterator[tuple[int, dict[str, ColumnReport]]]:
    """The reports of each window's columns. A window is compared with the last earlier window with enough rows."""
    before = None
    for number, window in windows.counts.items():
        yield (
            number,
            {
                name: compare(
                    column, window.columns[name], window.rows, None if before is None else before.columns[name]
                )
                for name, column in columns.items()
            },
        )
        if window.rows >= thresholds.minimum_rows:
            before = window


def _totals(
    columns: Mapping[str, MonitoredColumn], outputs: Mapping[str, MonitoredColumn], windows: MonitoredWindows
) -> dict[str, Any]:
    """The counts of all windows, so that this Monitoring can be the reference of a later one."""
    total = windows.total(dict(columns) | dict(outputs))
    found: dict[str, Any] = {}
    for name, column in (*columns.items(), *outputs.items()):
        plain = {"role": "output" if name in outputs else "feature", **to_json(total.columns[name])}
        if isinstance(column, NumberColumn):
            found[name] = {"kind": "numeric", "edges": [float(edge) for edge in column.bins.edges], **plain}
        elif isinstance(column, CategoryColumn):
            listed = {"categories": list(column.listed), "judges_new": column.judges_new}
            found[name] = {"kind": "categorical", **listed, **plain}
    return found


def _span(number: int, seconds: int) -> tuple[str, str]:
    return utc(number * seconds), utc((number + 1) * seconds)


def _window(
    number: int,
    span: tuple[str, str] | None,
    windows: MonitoredWindows,
    reports: Mapping[int, Mapping[str, ColumnReport]],
    measured: Mapping[int, WindowMetrics],
) -> dict[str, Any]:
    begin, end = span or (None, None)
    return {
        "begin": begin,
        "end": end,
        "rows": windows.counts[number].rows if number in windows.counts else 0,
        "columns": {name: report.to_json() for name, report in reports.get(number, {}).items()},
        "performance": measured[number].to_json() if number in measured else None,
    }
