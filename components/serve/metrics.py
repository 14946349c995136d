"""Metrics of the server in Prometheus' text format: requests, latency, batches, queue, rules, version and swaps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from headrace.core.prometheus import Histogram
from headrace.core.rules.counts import RuleCounts

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Upper bounds of buckets, in seconds.
_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_RULES = (
    ("refused", "Rows that were refused for breaking a rule of the model."),
    ("predicted", "Rows that were predicted although a value is out of bounds or unknown."),
)


class Metrics:
    """Counters since the start of the server.

    Rules and fields are the Model's, and routes are the server's, so there are few of each.

    Attributes:
        latency: from a whole request to its response, of predictions.
        requests: requests by protocol and status.
        batch_requests: requests per batch.
        batch_rows: rows per batch.
        batch_seconds: duration of the calls of batches.
        gauges: functions that return present values, by name with its help text.
        counters: further totals, by name with its help text and labels; see `count`.
    """

    def __init__(self) -> None:
        self.latency = Histogram(_LATENCIES)
        self.batch_requests = Histogram(_SIZES)
        self.batch_rows = Histogram(_SIZES)
        self.batch_seconds = Histogram(_LATENCIES)
        self.requests: dict[tuple[str, int], int] = {}
        self.gauges: dict[tuple[str, str], Callable[[], float]] = {}
        self._counters: dict[tuple[str, str], dict[str, int]] = {}
        self._lock = threading.Lock()
        self._rules = RuleCounts()

    def add(self, counts: RuleCounts) -> None:
        """Adds the rows of a batch that broke rules; thread-safe."""
        with self._lock:
            self._rules = self._rules.merge(counts)

    def count(self, name: str, about: str, labels: Mapping[str, str], by: int = 1) -> None:
        """Adds to a counter of the name `headrace_NAME_total`; thread-safe. Labels must have few values."""
        text = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
        with self._lock:
            totals = self._counters.setdefault((name, about), {})
            totals[text] = totals.get(text, 0) + by

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a response; for the event loop's thread."""
        key = route, status
        self.requests[key] = self.requests.get(key, 0) + 1
        if seconds >= 0:
            self.latency.add(seconds)

    def batch(self, requests: int, rows: int, seconds: float) -> None:
        """Counts a batch; for the event loop's thread."""
        self.batch_requests.add(requests)
        self.batch_rows.add(rows)
        self.batch_seconds.add(seconds)

    def text(self, version: str, mode: str) -> str:
        """All metrics, as Prometheus reads them.

        Args:
            version: of the model in use.
            mode: of the answerer in use.
        """
        rules = self._rules
        lines: list[str] = []
        for name, about in _RULES:
            metric = f"headrace_{name}_rows_total"
            lines += [f"# HELP {metric} {about}", f"# TYPE {metric} counter"]
            for rule, fields in sorted(getattr(rules, name).items()):
                lines += [f'{metric}{{rule="{rule}",field="{_escaped(f)}"}} {n}' for f, n in sorted(fields.items())]
        lines += ["# HELP headrace_requests_total Responses.", "# TYPE headrace_requests_total counter"]
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'headrace_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += self.latency.lines("headrace_request_seconds", "From a whole predict request to its response.")
        lines += self.batch_requests.lines("headrace_batch_requests", "Requests per batch.")
        lines += self.batch_rows.lines("headrace_batch_rows", "Rows per batch.")
        lines += self.batch_seconds.lines("headrace_batch_seconds", "Duration of a batch's call.")
        with self._lock:
            counters = {key: dict(totals) for key, totals in self._counters.items()}
        for (name, about), totals in sorted(counters.items()):
            metric = f"headrace_{name}_total"
            lines += [f"# HELP {metric} {about}", f"# TYPE {metric} counter"]
            lines += [f"{metric}{{{labels}}} {n}" for labels, n in sorted(totals.items())]
        for (name, about), value in sorted(self.gauges.items()):
            metric = f"headrace_{name}"
            lines += [f"# HELP {metric} {about}", f"# TYPE {metric} gauge", f"{metric} {value():.9g}"]
        lines += ["# HELP headrace_model_info The model in use.", "# TYPE headrace_model_info gauge"]
        lines.append(f'headrace_model_info{{version="{_escaped(version)}",mode="{mode}"}} 1')
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
