"""Metric reports of a trial to Vertex AI: one JSON object per line, in a file that the service reads.

The format is that of the package `cloudml-hypertune` 0.1.0.dev6, the last of 2019, which is only available as a source
archive: the last 100 measurements, numbers as texts, in the file that CLOUD_ML_HP_METRIC_FILE names.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.core.steps.step import emit

_DEFAULT_PATH = "/tmp/hypertune/output.metrics"  # noqa: S108 - where the service reads
_KEPT = 100


class MetricFile:
    """Metric file of one trial.

    Args:
        environment: of the process; CLOUD_ML_HP_METRIC_FILE and CLOUD_ML_TRIAL_ID are read.
        clock: seconds since 1970.
    """

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self._path = Path(environment.get("CLOUD_ML_HP_METRIC_FILE") or _DEFAULT_PATH)
        self._trial = environment.get("CLOUD_ML_TRIAL_ID") or "0"
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def report(self, metric: str, value: float, step: int) -> None:
        """Adds a measurement. Where the file cannot be written, a warning in the log has it, and training continues.

        The service mounts the file's folder, which may be root's (cloudml-hypertune, issue 6).

        Args:
            metric: id of a metric of the study.
            value: of the metric.
            step: of the measurement: early stopping compares trials at equal steps, or at equal times.
        """
        measurement = {
            "timestamp": self._clock(),
            "trial": self._trial,
            metric: str(float(value)),
            "global_step": str(step),
            "checkpoint_path": "",
        }
        self._lines.append(json.dumps(measurement, sort_keys=True) + "\n")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("".join(self._lines), encoding="utf-8")
        except OSError as error:
            message = f"{metric} {value:.6g} at step {step}, which Vertex AI does not accept: {error}"
            emit("progress", "trial", message, severity="WARNING", lasting=True)
