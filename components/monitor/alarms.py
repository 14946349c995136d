"""Alarms: values above the thresholds of the Problem, as events whose id follows from their content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.components.monitor.compare import ColumnReport
from headrace.core.problem import Monitor
from headrace.core.steps.step import identity

FILE = "alarms.jsonl"


@dataclass(frozen=True)
class Alarm:
    """An event.

    Attributes:
        id: of the problem, the reference, kind, feature, window and threshold: the same when they are measured again.
        kind: skew, drift, prediction_drift, missing, unknown, invalid, metric, metric_loss, data_age or model_age.
        feature: the column, or the metric; "" for ages.
        value: what was measured, without its sampling error.
        threshold: that it is above (of a metric, where higher is better: below).
        window: begin and end, in UTC; None for ages, and for rows without times.
        at: the end of the window, or the time of the measurement, in UTC.
    """

    id: str
    kind: str
    feature: str
    value: float
    threshold: float
    window: tuple[str, str] | None
    at: str

    @property
    def text(self) -> str:
        """The alarm as a sentence."""
        of = f" of {self.feature}" if self.feature else ""
        when = f", {self.window[0]} to {self.window[1]}" if self.window else ""
        return f"{self.kind}{of}: {self.value:.4g}, threshold {self.threshold:g}{when}"


@dataclass(frozen=True)
class Alarms:
    """Makes alarms of one measurement.

    Args:
        problem: name of the Problem.
        reference: digest of the reference.
        now: time of the measurement, in UTC.
    """

    problem: str
    reference: str
    now: str

    def alarm(
        self,
        kind: str,
        feature: str,
        value: float,
        threshold: float,
        window: tuple[str, str] | None = None,
        about: str = "",
    ) -> Alarm:
        """An alarm; arguments as the attributes of `Alarm`.

        Without a window, `about` tells apart what was measured: the data, or the time whose age it is.
        """
        facts: dict[str, Any] = {"kind": kind, "feature": feature, "threshold": threshold, "window": window or about}
        name = identity("alarm", problem=self.problem, reference=self.reference, **facts)
        return Alarm(name, kind, feature, value, threshold, window, window[1] if window else self.now)

    def of_columns(
        self,
        reports: Mapping[str, ColumnReport],
        outputs: Iterable[str],
        monitor: Monitor,
        window: tuple[str, str] | None,
        about: str = "",
    ) -> list[Alarm]:
        """The alarms of a window's columns.

        Args:
            reports: by column.
            outputs: those of them that are predictions.
            monitor: the thresholds.
            window: its begin and end; None for rows without times.
            about: the data, where there is no window.
        """
        found: list[Alarm] = []
        predicted = frozenset(outputs)
        for name, report in reports.items():
            if report.rows < monitor.minimum_rows:
                continue
            of_column = monitor.drift_of_predictions if name in predicted else monitor.drift_of(name)
            for measure, threshold in (
                ("skew", of_column),
                ("drift", of_column),
                ("missing", monitor.missing),
                ("unknown", monitor.unknown),
                ("invalid", monitor.invalid),
            ):
                distance = report.distances.get(measure)  # type: ignore[call-overload]
                if distance is not None and distance.above(threshold):
                    kind = "prediction_drift" if name in predicted and measure in ("skew", "drift") else measure
                    value = distance.value
                    if not any(each.kind == kind and each.feature == name for each in found):
                        found.append(self.alarm(kind, name, value, threshold, window, about))
        return found


def utc(seconds: float) -> str:
    """A time in seconds since 1970, as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lines(alarms: Iterable[Alarm]) -> bytes:
    """The alarms as JSON lines."""
    return b"".join(json.dumps(asdict(alarm), allow_nan=False).encode() + b"\n" for alarm in alarms)
