"""Monitoring step of a pipeline."""

from __future__ import annotations

import time as clock
from dataclasses import asdict
from typing import Any

from headrace.components.monitor.config import MonitorConfig, period, seconds_of
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import CsvDialect, options_of
from headrace.core.steps.step import running

# Alarms in the run's summary.
_SUMMARIZED = 20


def run(
    problem: str,
    problem_digest: str,
    root: str,
    data: str,
    labels: str,
    evaluation: str,
    columns: tuple[str, str, str],
    model_version: str,
    periods: tuple[str, str],
    times: tuple[str, str],
    csv: str,
    reference: Any,
    monitoring: Any,
) -> bool:
    """Implements `component.monitor`.

    Args:
        problem, problem_digest, root, data, labels, evaluation, model_version, csv, reference, monitoring: as there.
        columns: those of the time, of the label's time, and of the prediction.
        periods: the window, and how long a label is waited for.
        times: of the training, and of the measurement.
    """
    with running("monitor", root=root) as step:
        file = load_problem(problem, digest=problem_digest)
        trained, now = times
        options = options_of(csv)
        config = MonitorConfig(
            reference=reference.path,
            data=data,
            output=storage.place_of(monitoring),
            now=seconds_of(now, "now") if now else clock.time(),
            labels=labels,
            evaluation=evaluation,
            time=columns[0],
            label_time=columns[1],
            prediction=columns[2],
            version=model_version,
            window=period(periods[0], "window"),
            label_wait=period(periods[1], "label_wait"),
            trained=seconds_of(trained, "trained_at") if trained else None,
            csv=CsvDialect.parse(options),
        )
        with step.importing():
            from headrace.components.monitor import monitor as work
        config, opened = work.identified(file, config, options)
        step.identity = config.identity
        result = work.monitor(file, config, step.progress, reference=opened)
        monitoring.metadata.update(alarms=len(result.alarms), rows=result.rows)
        step.finish(
            outputs={"monitoring": monitoring.path},
            result={
                "rows": result.rows,
                "windows": result.windows,
                "absent": list(result.absent),
                "labels": None if result.labels is None else asdict(result.labels),
                "alarms": len(result.alarms),
                "first_alarms": [asdict(alarm) for alarm in result.alarms[:_SUMMARIZED]],
            },
        )
    return bool(result.alarms)
