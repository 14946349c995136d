"""Metric events and alarms of measured windows, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from headrace.components.monitor.alarms import Alarm, Alarms, utc
from headrace.components.monitor.judge import JudgedMetric, judge_metric, metric_of
from headrace.components.stream.labels.alarm import MetricAlarm
from headrace.components.stream.labels.join import MeasuredWindow
from headrace.core.problem import Monitor, Problem


class MetricReport:
    """Creates events of measured windows.

    Args:
        problem: declares the gate and the thresholds.
        app: name of the application.
        evaluated: value of the judged metric in the Evaluation; None if it is unknown.
    """

    def __init__(self, problem: Problem, app: str, evaluated: float | None = None) -> None:
        self._problem = problem
        self._app = app
        self._judged = JudgedMetric(metric_of(problem), evaluated)
        self._thresholds = problem.monitor or Monitor()

    def event(self, window: MeasuredWindow) -> bytes:
        """The metric event as JSON bytes: window, version, counts, and metrics with their confidence intervals.

        Application, version and begin identify a window that is measured again after a restart.
        """
        metrics = {"rows": 0, "metrics": {}} if window.metrics is None else window.metrics.to_json()
        content = {
            "kind": "StreamMetric",
            "format": 1,
            "app": self._app,
            "version": window.version,
            "begin": utc(window.begin),
            "end": utc(window.end),
            "judged": self._judged.metric,
            **metrics,
            "counts": asdict(window.counts),
        }
        return json.dumps(content).encode()

    def alarms(self, window: MeasuredWindow) -> list[Alarm]:
        """The alarms of a window: its whole confidence interval exceeds a bound of the gate, or the allowed loss.

        A repeated measurement of the window has the same ids.
        """
        if window.metrics is None:
            return []
        maker = Alarms(self._problem.name, f"{self._app} {window.version}", utc(window.end))
        span = (utc(window.begin), utc(window.end))
        return judge_metric(maker, self._judged, window.metrics, self._problem, self._thresholds, span)

    def alarm_event(self, alarm: Alarm, window: MeasuredWindow, member: str) -> bytes:
        """The alarm as JSON bytes."""
        return MetricAlarm(self._app, window.version, alarm).encode(member)
