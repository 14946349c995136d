"""Monitoring options: inputs, output and windows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.core.artifacts.kinds import MONITORING
from headrace.core.checks import check_count, is_finite
from headrace.core.errors import UsageError
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.storage.output_check import check_output

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PERIOD = re.compile(r"([1-9][0-9]{0,5})([smhdw])\Z")


def period(text: str, where: str, units: str = "mhdw") -> int:
    """A period such as "6h" or "1d" in seconds; d is 24 hours.

    Args:
        text: a whole number, 1 to 999,999, and a unit.
        where: name of the option, for an error.
        units: valid units, of s, m, h, d and w.

    Raises:
        UsageError: the text is not a period.
    """
    found = _PERIOD.match(text)
    if not found or found[2] not in units:
        raise UsageError(
            "the period is not valid",
            where=where,
            expected=f"a number and {', '.join(units[:-1])} or {units[-1]}: 6h",
            received=repr(text),
        )
    return int(found[1]) * _SECONDS[found[2]]


def seconds_of(text: str, where: str) -> float:
    """A time in ISO 8601 as seconds since 1970; without an offset, the time is UTC.

    Raises:
        UsageError: the text is not a time in ISO 8601.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            "the time is not valid", where=where, expected="ISO 8601: 2026-03-01T12:00:00Z", received=repr(text)
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class MonitorConfig:
    """Inputs, output and options of a measurement.

    Args:
        reference: URI of the reference: Examples, a Model, an endpoint's folder, a statistics.json, an earlier
            Monitoring, or rows.
        data: URI of the rows to measure: a request log, or a table of features, predictions and times.
        output: URI of the Monitoring, a folder; an existing one is replaced.
        now: time of the measurement, in seconds since 1970.
        identity: cache key of the Monitoring.
        data_version: fingerprint of the data, which is part of the ids of alarms of rows without times.
        labels: URI of a table of keys and labels, which may arrive late; "" without labels.
        evaluation: URI of the model's Evaluation, whose metric is compared; "" for no comparison.
        time: column of the time of a row: a time, or seconds since 1970. "" uses "time" of a request log; other tables
            then have no windows.
        label_time: column of the time at which a label arrived, in the table of labels; "" without such a column.
        prediction: column of the prediction.
        version: version of the model whose rows are measured; "" for all rows.
        window: length of a window, in seconds, 60 or more; windows begin at multiples of it since 1970.
        label_wait: maximum time between a prediction and its label, in seconds, 1 or more.
        joined_rows: maximum predictions in memory for the join with labels, 2 or more; more are sampled by key.
        trained: time at which the model was trained or registered, in seconds since 1970; None if it is unknown.
        csv: dialect of CSV files.

    Raises:
        UsageError: a value is outside its range.
    """

    reference: str
    data: str
    output: str
    now: float
    identity: str = ""
    data_version: str = ""
    labels: str = ""
    evaluation: str = ""
    time: str = ""
    label_time: str = ""
    prediction: str = "prediction"
    version: str = ""
    window: int = _SECONDS["d"]
    label_wait: int = 30 * _SECONDS["d"]
    joined_rows: int = 1_000_000
    trained: float | None = None
    csv: CsvDialect = RFC_4180

    def __post_init__(self) -> None:
        for name in ("reference", "data", "output", "prediction"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="monitor", expected="a path or a column")
        check_count(self.window, "window", minimum=60, where="monitor")
        check_count(self.label_wait, "label_wait", where="monitor")
        check_count(self.joined_rows, "joined_rows", minimum=2, where="monitor")
        for name in ("now", "trained"):
            value = getattr(self, name)
            if not (is_finite(value) or (name == "trained" and value is None)):
                raise UsageError(f"{name} is not a time", where="monitor", expected="seconds", received=repr(value))

    def check_output(self, problem: str = "") -> None:
        """Checks that `output` is unused or contains a Monitoring, and does not contain an input.

        Raises:
            UsageError: it contains something else, or an input.
        """
        read = {
            "--problem": problem,
            "--reference": self.reference,
            "--data": self.data,
            "--labels": self.labels,
            "--evaluation": self.evaluation,
        }
        check_output(self.output, MONITORING, inputs=read)
