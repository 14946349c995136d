"""Pipeline step of monitoring."""

from __future__ import annotations

import time as clock
from dataclasses import asdict
from typing import Any

from headrace.components.monitor.config import MonitorConfig, period, seconds_of
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import CsvDialect, options_of
from headrace.core.steps.step import running

# Maximum alarms in the run's summary.
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
    """Implements `component.monitor`, whose docstring describes the other arguments.

    Args:
        columns: `time`, `label_time` and `prediction`.
        periods: `window` and `label_wait`.
        times: `trained_at` and `now`.
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
