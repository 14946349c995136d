"""Metrics of the server in Prometheus' text format: rows that broke a rule of the Model, by rule and field."""

from __future__ import annotations

import threading

from headrace.core.rules.counts import RuleCounts

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_HELP = (
    ("refused", "Rows that were refused for breaking a rule of the model."),
    ("predicted", "Rows that were predicted although a value is out of bounds or unknown."),
)


class Metrics:
    """Counters since the start of the server; thread-safe. Rules and fields are the Model's, so they are few."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = RuleCounts()

    def add(self, counts: RuleCounts) -> None:
        """Adds the rows of a request."""
        with self._lock:
            self._counts = self._counts.merge(counts)

    def text(self) -> str:
        """All counters, as Prometheus reads them."""
        counts = self._counts
        lines: list[str] = []
        for name, about in _HELP:
            metric = f"headrace_{name}_rows_total"
            lines += [f"# HELP {metric} {about}", f"# TYPE {metric} counter"]
            for rule, fields in sorted(getattr(counts, name).items()):
                lines += [f'{metric}{{rule="{rule}",field="{field}"}} {rows}' for field, rows in sorted(fields.items())]
        return "\n".join(lines) + "\n"
