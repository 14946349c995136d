"""Alarms: events of values above the thresholds of the Problem. The id of an alarm depends only on its content."""

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
    """An alarm event.

    Attributes:
        id: digest of the problem, the reference, kind, feature, window and threshold, so that a repeated measurement
            has the same id.
        kind: skew, drift, prediction_drift, missing, unknown, invalid, metric, metric_loss, data_age or model_age.
        feature: name of the column or the metric; "" for ages.
        value: measured value; for columns, after the subtraction of the sampling error.
        threshold: the exceeded threshold; for metrics that should be high, the value is below it.
        window: begin and end, ISO 8601 in UTC; None for ages, and for rows without times.
        at: end of the window, or the time of the measurement, ISO 8601 in UTC.
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
    """Creates the alarms of one measurement.

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
        """An alarm. Arguments as the attributes of `Alarm`, and:

        Args:
            about: without a window, the part of the id that identifies the data, or the time whose age is measured.
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
            reports: reports by column.
            outputs: names of the columns that are predictions.
            monitor: the thresholds.
            window: begin and end of the window; None for rows without times.
            about: version of the data, for rows without times.
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
