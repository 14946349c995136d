"""Windowed join: joins predictions and labels of a stream by key, in bounded memory, and measures each window.

A window contains the predictions of one version in a period of time. It is measured when no further label can arrive in
time. The join is that of monitoring: the metric of a window does not depend on the order in which rows arrive.

If there are more rows than the bound, they are sampled by key, as in monitoring: the sample contains all rows of a key,
or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.components.monitor import performance
from headrace.components.monitor.labels import Floats, JoinCounts, LabelJoin, Prints, Times
from headrace.components.monitor.performance import WindowMetrics
from headrace.components.monitor.read import MonitoredBatch
from headrace.core.problem import Problem

_MICROSECONDS = 1_000_000
_BITS = 64
_OUTPUTS = {"regression": (), "binary": ("probability",), "multiclass": ("probabilities",)}

Window = tuple[int, str]


@dataclass(frozen=True)
class MeasuredWindow:
    """A window whose labels are complete.

    Attributes:
        begin, end: bounds of the predictions' times, in seconds since 1970; multiples of the window's length.
        version: version of the model that predicted; "" if the predictions do not contain it.
        counts: counts of its predictions and labels.
        metrics: metrics of the predictions with a label; None if there are none.
    """

    begin: int
    end: int
    version: str
    counts: JoinCounts
    metrics: WindowMetrics | None


class WindowedJoin:
    """Joins predictions and labels as they arrive. Not thread-safe.

    Args:
        problem: Problem of the labels.
        window_s: length of a window, in seconds.
        wait_s: maximum time between a prediction and its label, before or after it, in seconds.
        most: maximum predictions, and maximum labels, in memory.

    Attributes:
        late: number of predictions that arrived after their window was measured.
        invalid: number of predictions and labels that are not valid.
    """

    def __init__(self, problem: Problem, *, window_s: int, wait_s: int, most: int) -> None:
        self._problem = problem
        self._window = window_s * _MICROSECONDS
        self._wait = wait_s * _MICROSECONDS
        self._most = most
        self._shift = 0
        self._predictions: dict[Window, list[tuple[Prints, Times, Floats, Floats]]] = {}
        self._labels: list[tuple[Prints, Times, Floats]] = []
        # The first window that was not measured; None before the first row.
        self._open: int | None = None
        self.late = 0
        self.invalid = 0

    @property
    def buffered(self) -> tuple[int, int]:
        """The numbers of predictions and of labels in memory."""
        predictions = sum(len(part[0]) for parts in self._predictions.values() for part in parts)
        return predictions, sum(len(part[0]) for part in self._labels)

    def add_predictions(self, rows: Sequence[dict[str, Any]], keys: Sequence[str | None], times: Times) -> None:
        """Adds predictions.

        Args:
            rows: outputs by name, with `model_version`. Invalid rows are counted and left out.
            keys: keys of the rows; None for a row without a key.
            times: [rows] int64 microseconds since 1970.
        """
        names = ("prediction", *_OUTPUTS[self._problem.task])
        by_version: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            by_version.setdefault(str(row.get("model_version", "")), []).append(at)
        for version, some in by_version.items():
            outputs = {
                name: (_lists if name == "probabilities" else _column)([rows[at].get(name) for at in some])
                for name in names
            }
            outputs["key"] = pa.array([keys[at] for at in some], pa.string())
            moments = times[some]
            batch = MonitoredBatch(len(some), {}, outputs, moments, np.ones(len(some), np.bool_))
            valid, prints, _, predicted, probability = performance.prediction_rows(self._problem, batch)
            self.invalid += int((~valid).sum())
            numbers = moments // self._window
            late = valid & (numbers < self._open) if self._open is not None else np.zeros(len(some), np.bool_)
            self.late += int(late.sum())
            valid &= ~late & self._sampled(prints)
            for number in np.unique(numbers[valid]).tolist():
                inside = valid & (numbers == number)
                part = prints[inside], moments[inside], predicted[inside], probability[inside]
                self._predictions.setdefault((number, version), []).append(part)
        self._bound()

    def add_labels(self, values: Sequence[Any], keys: Sequence[str | None], times: Times) -> None:
        """Adds labels.

        Args:
            values: JSON values of the labels. Invalid labels are counted and left out.
            keys: keys of the labels; None for a label without a key.
            times: [rows] int64 times of arrival, in microseconds since 1970.
        """
        valid, prints, found = performance.label_rows(self._problem, pa.array(keys, pa.string()), _column(values))
        self.invalid += int((~valid).sum())
        valid &= self._sampled(prints) & (times >= self._oldest_label)
        if valid.any():
            self._labels.append((prints[valid], times[valid], found[valid]))
        self._bound()

    def measure(self, progress: int) -> list[MeasuredWindow]:
        """Measures and removes the windows for which no further label can arrive in time.

        Args:
            progress: time up to which all rows were added, in microseconds since 1970.

        Returns:
            The windows, sorted by time and version, without windows that have no predictions.
        """
        whole = (progress - self._wait) // self._window
        if self._open is not None and whole <= self._open:
            return []
        self._open = whole
        ready = sorted(window for window in self._predictions if window[0] < whole)
        found = [self._measured(*window) for window in ready]
        kept = [(part, part[1] >= self._oldest_label) for part in self._labels]
        self._labels = [tuple(c[some] for c in part) for part, some in kept if some.any()]  # type: ignore[misc]
        return found

    @property
    def _oldest_label(self) -> int:
        """The time of the oldest label that an open window can need, in microseconds since 1970."""
        # A label may arrive before its prediction, by the same maximum time.
        return -(2**63) if self._open is None else self._open * self._window - self._wait

    def _measured(self, number: int, version: str) -> MeasuredWindow:
        join = LabelJoin(
            self._problem.task,
            performance.classes_of(self._problem),
            self._most,
            self._wait,
            (number + 1) * self._window + self._wait,
        )
        for part in self._predictions.pop((number, version)):
            join.add_predictions(*part)
        for prints, times, values in self._labels:
            join.add_labels(prints, times, values)
        joined = join.result()
        seconds = self._window // _MICROSECONDS
        metrics = performance.measure_rows(joined.outcomes) if joined.outcomes.rows else None
        return MeasuredWindow(number * seconds, (number + 1) * seconds, version, joined.counts, metrics)

    def _sampled(self, prints: Prints) -> npt.NDArray[np.bool_]:
        if not self._shift:
            return np.ones(len(prints), np.bool_)
        return np.asarray(prints >> np.uint64(_BITS - self._shift) == 0)

    def _bound(self) -> None:
        """Samples by key, until neither predictions nor labels exceed the bound."""
        while max(self.buffered) > self._most and self._shift < _BITS - 1:
            self._shift += 1
            for window, parts in self._predictions.items():
                self._predictions[window] = [_some(part, self._sampled(part[0])) for part in parts]
            self._labels = [_some(part, self._sampled(part[0])) for part in self._labels]


def _some(part: Any, rows: npt.NDArray[np.bool_]) -> Any:
    return tuple(column[rows] for column in part)


def _column(values: Sequence[Any]) -> pa.Array:
    """JSON values as a column of numbers or texts. A mixture is text, as in JSON lines files; other values are null."""
    plain = [value if isinstance(value, str | int | float) else None for value in values]
    try:
        column = pa.array(plain)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = pa.array([None if value is None else str(value) for value in plain], pa.string())
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _lists(values: Sequence[Any]) -> pa.Array:
    """JSON lists of probabilities as a column; other values are null."""

    def valid(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(one, int | float) and 0 <= one <= 1 for one in value)

    return pa.array([value if valid(value) else None for value in values], pa.list_(pa.float64()))
