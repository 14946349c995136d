"""Metric events and decay alarms: what a measured window is to others, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from headrace.components.monitor.alarms import Alarm, Alarms, utc
from headrace.components.monitor.judge import JudgedMetric, judge_metric, metric_of
from headrace.components.stream.labels.alarm import MetricAlarm
from headrace.components.stream.labels.join import MeasuredWindow
from headrace.core.problem import Monitor, Problem


class MetricReport:
    """Makes events of measured windows.

    Args:
        problem: has the gate and the thresholds.
        app: the application.
        evaluated: the metric of the gate at evaluation; None if unknown.
    """

    def __init__(self, problem: Problem, app: str, evaluated: float | None = None) -> None:
        self._problem = problem
        self._app = app
        self._judged = JudgedMetric(metric_of(problem), evaluated)
        self._thresholds = problem.monitor or Monitor()

    def event(self, window: MeasuredWindow) -> bytes:
        """The metric event: window, version, counts, and metrics with their confidence intervals.

        A window that is measured again, after a restart, has the same application, version and begin.
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
        """The alarms of a window: its whole confidence interval is beyond the gate's bound, or the allowed loss.

        Its id follows from problem, version, kind and window: it is the same if the window is measured again.
        """
        if window.metrics is None:
            return []
        maker = Alarms(self._problem.name, f"{self._app} {window.version}", utc(window.end))
        span = (utc(window.begin), utc(window.end))
        return judge_metric(maker, self._judged, window.metrics, self._problem, self._thresholds, span)

    def alarm_event(self, alarm: Alarm, window: MeasuredWindow, member: str) -> bytes:
        """The alarm as an event."""
        return MetricAlarm(self._app, window.version, alarm).encode(member)
