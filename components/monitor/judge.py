"""Alarms of metrics and ages, by the bounds of the gate and the thresholds of monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.monitor.alarms import Alarm, Alarms, utc
from headrace.components.monitor.config import MonitorConfig
from headrace.components.monitor.performance import WindowMetrics
from headrace.core.problem import METRICS, Gate, Monitor, Problem

_HOUR, _DAY = 3600.0, 86_400.0


@dataclass(frozen=True)
class JudgedMetric:
    """The judged metric.

    Attributes:
        metric: name of the metric.
        evaluated: its value in the Evaluation; None if it is unknown.
    """

    metric: str
    evaluated: float | None

    def to_json(self, gate: Gate | None) -> dict[str, Any]:
        """The metric, its value in the Evaluation, and the bounds of the gate."""
        bounds: dict[str, float | None] = {"at_most": None, "at_least": None}
        if gate is not None:
            bounds = {"at_most": gate.at_most, "at_least": gate.at_least}
        return {"name": self.metric, "evaluated": self.evaluated, **bounds}


def metric_of(problem: Problem) -> str:
    """The metric of the gate; without a gate, the first metric of the task."""
    if problem.gate is None:
        return next(iter(METRICS[problem.task]))
    return problem.gate.of(problem.task, problem.threshold).metric


def judge_metric(
    maker: Alarms,
    judged: JudgedMetric,
    measured: WindowMetrics,
    problem: Problem,
    thresholds: Monitor,
    window: tuple[str, str] | None,
    about: str = "",
) -> list[Alarm]:
    """The alarms of a window's metric: its whole confidence interval is on the wrong side of a bound.

    Args:
        maker: creates the alarms.
        judged: the metric.
        measured: metrics of the window.
        problem: declares the gate and its bounds.
        thresholds: declares the allowed loss, and the minimum number of rows.
        window: begin and end of the window; None for rows without times.
        about: version of the data, for rows without times.
    """
    value, interval = measured.values[judged.metric], measured.intervals[judged.metric]
    if value is None or interval is None or measured.rows < thresholds.minimum_rows:
        return []
    low, high = interval
    found = []

    def alarm(kind: str, bound: float) -> None:
        found.append(maker.alarm(kind, judged.metric, value, bound, window, about))

    gate = problem.gate
    if gate is not None and gate.at_most is not None and low > gate.at_most:
        alarm("metric", gate.at_most)
    if gate is not None and gate.at_least is not None and high < gate.at_least:
        alarm("metric", gate.at_least)
    if judged.evaluated is not None and thresholds.metric_loss is not None:
        allowed = abs(judged.evaluated) * thresholds.metric_loss
        higher_is_better = METRICS[problem.task][judged.metric]
        worst = judged.evaluated - allowed if higher_is_better else judged.evaluated + allowed
        if (high < worst) if higher_is_better else (low > worst):
            alarm("metric_loss", worst)
    return found


def judge_ages(
    maker: Alarms, thresholds: Monitor, config: MonitorConfig, newest: float | None
) -> tuple[Mapping[str, Any], list[Alarm]]:
    """The ages of the data in hours and of the model in days, as JSON values, and their alarms.

    Args:
        maker: creates the alarms.
        thresholds: declares the maximum ages.
        config: contains the times of the measurement and of the training.
        newest: time of the newest row, in seconds since 1970; None if rows have no times.
    """
    found = []
    ages: dict[str, Any] = {"newest_row": None, "data_age_hours": None, "trained": None, "model_age_days": None}
    if newest is not None:
        hours = (config.now - newest) / _HOUR
        ages.update(newest_row=utc(newest), data_age_hours=hours)
        if thresholds.data_age_hours is not None and hours > thresholds.data_age_hours:
            found.append(maker.alarm("data_age", "", hours, thresholds.data_age_hours, about=utc(newest)))
    if config.trained is not None:
        days = (config.now - config.trained) / _DAY
        ages.update(trained=utc(config.trained), model_age_days=days)
        if thresholds.model_age_days is not None and days > thresholds.model_age_days:
            found.append(maker.alarm("model_age", "", days, thresholds.model_age_days, about=utc(config.trained)))
    return ages, found
