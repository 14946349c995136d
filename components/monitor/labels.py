"""Late labels: predictions and labels joined by key, in bounded memory, with the same result in any order.

If there are more predictions than the bound, they are sampled by key: those whose fingerprint is below 2^64 / 2^n, with
the smallest n that satisfies the bound. The sample does not depend on the order of rows, and contains all rows of its
keys (threshold sampling of keys: E. Cohen and H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007).

Of the labels of a key that arrived in time, the latest is used. Labels that arrived too late are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.metrics import Outcomes
from headrace.core.problem import Task

Prints = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Time of a row without a time; it is before all others.
NEVER = np.iinfo(np.int64).min
_BITS = 64
# Maximum stored values of one key and time: two are enough to show that they contradict each other.
_KEPT = 2


@dataclass(frozen=True)
class JoinCounts:
    """Numbers of predictions and labels of a join.

    Attributes:
        predictions: rows with a key and a valid prediction.
        sampled: those of them in the sample; all of them up to the bound.
        joined: sampled predictions with a label.
        waiting: sampled predictions without a label, which may still arrive in time.
        expired: sampled predictions whose label arrived too late, or can no longer arrive in time.
        contradicting: sampled predictions whose key has several different labels at its latest time.
        invalid_predictions: rows without a key, or without a valid prediction.
        labels: rows with a key and a valid label.
        invalid_labels: rows without a key, or without a valid label.
    """

    predictions: int = 0
    sampled: int = 0
    joined: int = 0
    waiting: int = 0
    expired: int = 0
    contradicting: int = 0
    invalid_predictions: int = 0
    labels: int = 0
    invalid_labels: int = 0


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions with labels.

    Attributes:
        counts: counts of the join.
        times: [joined] int64 times of the predictions, in microseconds since 1970, ascending; 0 without times.
        outcomes: [joined] labels and predictions.
    """

    counts: JoinCounts
    times: Times
    outcomes: Outcomes


@dataclass
class LabelJoin:
    """A join under way: first all predictions are added, then labels.

    Args:
        task: task of the Problem.
        classes: vocabulary of the label; empty for regression.
        most: maximum predictions in memory.
        wait: maximum time between a prediction and its label, in microseconds.
        now: time of the measurement, in microseconds since 1970.
    """

    task: Task
    classes: tuple[str, ...]
    most: int
    wait: int
    now: int
    predictions: int = 0
    invalid_predictions: int = 0
    labels: int = 0
    invalid_labels: int = 0
    _shift: int = 0
    _held: list[tuple[Prints, Times, Floats, Floats]] = field(default_factory=list)
    _rows: int = 0
    _keys: Prints | None = None
    _last: Times | None = None
    _labels: list[tuple[Prints, Times, Floats]] = field(default_factory=list)

    def add_predictions(self, keys: Prints, times: Times, prediction: Floats, probability: Floats) -> None:
        """Adds valid predictions.

        Args:
            keys: [rows] uint64 fingerprints.
            times: [rows] int64 microseconds since 1970; NEVER without a time.
            prediction: [rows] float64 value, or index of the class.
            probability: float64: [rows] of the positive class, [rows, classes], or [rows, 0] for regression.
        """
        self.predictions += len(keys)
        self._hold(keys, times, prediction, probability)
        while self._rows > self.most and self._shift < _BITS:
            self._shift += 1
            held, self._held, self._rows = self._held, [], 0
            for part in held:
                self._hold(*part)

    def _hold(self, keys: Prints, times: Times, prediction: Floats, probability: Floats) -> None:
        some = self._sampled(keys)
        if some.any():
            self._held.append((keys[some], times[some], prediction[some], probability[some]))
            self._rows += int(some.sum())

    def _sampled(self, keys: Prints) -> npt.NDArray[np.bool_]:
        if self._shift >= _BITS:
            return np.zeros(len(keys), np.bool_)
        return keys >> np.uint64(_BITS - self._shift) == 0 if self._shift else np.ones(len(keys), np.bool_)

    def add_labels(self, keys: Prints, times: Times, values: Floats) -> None:
        """Adds valid labels. Those whose key has no sampled prediction are only counted.

        Args:
            keys: [rows] uint64 fingerprints.
            times: [rows] int64 times of arrival, in microseconds since 1970; NEVER without a time.
            values: [rows] float64 value, or index of the class.
        """
        self.labels += len(keys)
        known, last = self._predicted()
        if not len(known):
            return
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        late = (times != NEVER) & (last[place] != NEVER) & (times - self.wait > last[place])
        some = (known[place] == keys) & ~late
        if some.any():
            self._labels.append((keys[some], times[some], values[some]))
        if sum(len(part[0]) for part in self._labels) > 4 * self.most:
            self._labels = [_latest(self._labels)]

    def _predicted(self) -> tuple[Prints, Times]:
        """The keys of the predictions, ascending, and the time of the last prediction of each."""
        if self._keys is None or self._last is None:
            keys = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in self._held)])
            times = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in self._held)])
            self._keys, place = np.unique(keys, return_inverse=True)
            self._last = np.full(len(self._keys), NEVER)
            np.maximum.at(self._last, place, times)
        return self._keys, self._last

    def result(self) -> LabelledPredictions:
        """The predictions that have a label, in the order of time, key and prediction."""
        shape = (0, len(self.classes)) if self.task == "multiclass" else (0,) if self.task == "binary" else (0, 0)
        nothing = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0), np.zeros(shape))
        keys, times, prediction, probability = (np.concatenate(each) for each in zip(nothing, *self._held, strict=True))
        label_keys, came, values = _latest(self._labels)
        known, first, several = np.unique(label_keys, return_index=True, return_counts=True)
        place = np.searchsorted(known, keys)
        found = np.zeros(len(keys), np.bool_)
        inside = place < len(known)
        found[inside] = known[place[inside]] == keys[inside]
        place = np.where(found, place, 0)
        timed = times != NEVER
        if len(known):
            late = found & timed & (came[first][place] != NEVER) & (came[first][place] - self.wait > times)
            contradicting = found & ~late & (several[place] > 1)
        else:
            late = contradicting = np.zeros(len(keys), np.bool_)
        old = ~found & timed & (self.now - times > self.wait)
        joined = np.flatnonzero(found & ~late & ~contradicting)
        joined = joined[np.lexsort((prediction[joined], keys[joined], times[joined]))]
        counts = JoinCounts(
            self.predictions,
            len(keys),
            len(joined),
            int((~found & ~old).sum()),
            int((late | old).sum()),
            int(contradicting.sum()),
            self.invalid_predictions,
            self.labels,
            self.invalid_labels,
        )
        label = values[first][place[joined]] if len(known) else np.zeros(0)
        return LabelledPredictions(
            counts, np.where(timed, times, 0)[joined], self._outcomes(label, prediction[joined], probability[joined])
        )

    def _outcomes(self, label: Floats, prediction: Floats, probability: Floats) -> Outcomes:
        if self.task == "regression":
            return Outcomes(self.task, (), label, prediction)
        return Outcomes(self.task, self.classes, label.astype(np.int64), prediction.astype(np.int64), probability)


def subset(outcomes: Outcomes, rows: slice) -> Outcomes:
    """The outcomes of a slice of rows."""
    probability = None if outcomes.probability is None else outcomes.probability[rows]
    return Outcomes(outcomes.task, outcomes.classes, outcomes.label[rows], outcomes.prediction[rows], probability)


def _latest(parts: list[tuple[Prints, Times, Floats]]) -> tuple[Prints, Times, Floats]:
    """The labels of the latest time of each key, sorted by key: distinct values, at most two per key."""
    nothing = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0))
    keys, times, values = (np.concatenate(each) for each in zip(nothing, *parts, strict=True))
    order = np.lexsort((values, -(times + 1), keys))
    keys, times, values = keys[order], times[order], values[order]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    latest = times == times[first][place]
    keys, times, values = keys[latest], times[latest], values[latest]
    fresh = np.ones(len(keys), np.bool_)
    fresh[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
    keys, times, values = keys[fresh], times[fresh], values[fresh]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    few = np.arange(len(keys)) - first[place] < _KEPT
    return keys[few], times[few], values[few]


def counts_json(counts: JoinCounts) -> Mapping[str, Any]:
    """The counts as JSON values."""
    return dict(vars(counts))
