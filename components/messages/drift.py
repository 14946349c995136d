"""Drift of spans: each span is compared with a reference, as `headrace monitor` does."""

from __future__ import annotations

import functools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.core.progress import silent

if TYPE_CHECKING:
    from headrace.components.monitor.reference import Reference
    from headrace.core.problem.file import ProblemFile


@dataclass(frozen=True)
class SpanDrift:
    """Compares spans with a reference. Runners serialize it and send it to workers.

    Args:
        problem: URI of the Problem file, whose `monitor` declares the thresholds. A span of fewer rows than its
            `minimum_rows` raises no alarm.
        reference: URI of Examples, a Model or a statistics.json.
    """

    problem: str
    reference: str

    def of(self, span: str) -> str:
        """The first alarm of a span's features, as text; "" if there is none.

        Args:
            span: URI of the span's file.

        Raises:
            DataError: the reference is damaged, or does not fit the Problem.
            PlatformError: the disk or the service failed.
        """
        from headrace.components.monitor.config import MonitorConfig
        from headrace.components.monitor.monitor import monitor

        file, reference = _opened(self)
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / "monitoring")
            config = MonitorConfig(self.reference, span, output, time.time())
            result = monitor(file, config, silent, reference=reference)
        return next((alarm.text for alarm in result.alarms if alarm.kind == "skew"), "")


@functools.lru_cache(maxsize=4)
def _opened(drift: SpanDrift) -> tuple[ProblemFile, Reference]:
    """The Problem and the reference, read once per process."""
    from headrace.components.monitor.reference import open_reference
    from headrace.core.problem.file import load_problem
    from headrace.core.sources.csv_dialect import RFC_4180

    file = load_problem(drift.problem)
    return file, open_reference(file.problem, drift.reference, RFC_4180)
