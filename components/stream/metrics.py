"""Metrics of a scorer in the text format of Prometheus: records, latency, lag, batches, rules and models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.core.prometheus import Histogram
from headrace.core.rules.counts import RuleCounts

# Upper bounds of buckets: seconds, and records.
_LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_HELP = {
    "records_total": "Records by application and result: predicted, or the reason why a record has no prediction.",
    "rule_rows_total": "Rows that broke a rule of the Model, by result: refused, or predicted nevertheless.",
    "model_events_total": "Model events by application and result.",
    "retries_total": "Retries of deliveries, commits and batches, and offsets that were not committed.",
    "lag_seconds": "Age of the oldest record of the last batch when it was read; 0 if all records are scored.",
    "lag_records": "Records that are not scored yet, by the broker's high watermark.",
    "held_records": "Records that are held until the first model is loaded.",
    "model_info": "The model in use.",
}
_COUNTERS = ("records_total", "rule_rows_total", "model_events_total", "retries_total")


class StreamMetrics:
    """Metrics since the start of a scorer. Its loop writes them; any thread may read them.

    Args:
        in_use: returns the model in use by application, None without one.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self, in_use: Callable[[], Mapping[str, UsedModel | None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._in_use = in_use
        self._clock = clock
        self._lock = threading.Lock()
        self._latency = Histogram(_LATENCIES)
        self._batch_records = Histogram(_SIZES)
        self._batch_seconds = Histogram(_LATENCIES)
        self._counters: dict[str, dict[str, int]] = {name: {} for name in _COUNTERS}
        self._gauges: dict[str, dict[str, float]] = {}
        self._turned = clock()
        self.taking = False

    def turn(self) -> None:
        """Records that the loop is alive."""
        self._turned = self._clock()

    @property
    def idle_s(self) -> float:
        """Seconds since the loop was last alive."""
        return self._clock() - self._turned

    @property
    def ready(self) -> bool:
        """Whether the scorer reads records, and each application has a model."""
        return self.taking and all(loaded is not None for loaded in self._in_use().values())

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Adds to a counter."""
        with self._lock:
            totals, text = self._counters[name], _labels(labels)
            totals[text] = totals.get(text, 0) + by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        with self._lock:
            self._gauges.setdefault(name, {})[_labels(labels)] = value

    def clear(self, name: str) -> None:
        """Removes a gauge, whose labels may no longer exist."""
        with self._lock:
            self._gauges.pop(name, None)

    def batch(self, records: int, seconds: float) -> None:
        """Counts a batch and the duration of its scoring."""
        with self._lock:
            self._batch_records.add(records)
            self._batch_seconds.add(seconds)

    def latencies(self, created_ms: list[int], now: float) -> None:
        """Counts the time from each record's creation to the delivery of its result.

        Args:
            created_ms: creation times of the records, in milliseconds since 1970.
            now: current time, in seconds since 1970.
        """
        with self._lock:
            for created in created_ms:
                self._latency.add(max(0.0, now - created / 1000))

    def rules(self, app: str, counts: RuleCounts) -> None:
        """Counts rows that broke rules."""
        for result in ("refused", "predicted"):
            for rule, fields in getattr(counts, result).items():
                for field, rows in fields.items():
                    self.count("rule_rows_total", rows, app=app, result=result, rule=rule, field=field)

    def model(self, outcome: ModelOutcome) -> None:
        """Counts the outcome of a model event."""
        self.count("model_events_total", app=outcome.app, result=outcome.kind)

    def text(self) -> str:
        """All metrics, in the text format of Prometheus."""
        in_use = [
            _labels({"app": app, "version": one.version, **({} if one.epoch is None else {"epoch": str(one.epoch)})})
            for app, one in self._in_use().items()
            if one is not None
        ]
        with self._lock:
            lines = self._latency.lines("headrace_stream_latency_seconds", "From a record's creation to its result.")
            lines += self._batch_records.lines("headrace_stream_batch_records", "Records per batch.")
            lines += self._batch_seconds.lines("headrace_stream_batch_seconds", "Time to score a batch.")
            families: list[tuple[str, str, Mapping[str, float]]] = [
                *((name, "counter", totals) for name, totals in self._counters.items()),
                *((name, "gauge", values) for name, values in sorted(self._gauges.items())),
                ("model_info", "gauge", dict.fromkeys(in_use, 1)),
            ]
            for name, kind, values in families:
                metric = f"headrace_stream_{name}"
                lines += [f"# HELP {metric} {_HELP[name]}", f"# TYPE {metric} {kind}"]
                lines += [f"{metric}{labels} {value:.9g}" for labels, value in sorted(values.items())]
        return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
