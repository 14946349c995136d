"""Paired replay: both versions score the logged requests of a canary again, and their rows are compared.

Both versions score the same rows, so that differences are caused by the models, and not by the requests that each
version happens to get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace.components.deploy.canary.evidence import Differences, Replay
from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.read import log_files
from headrace.components.request_log.spool import begins_before
from headrace.core.errors import UsageError
from headrace.core.scoring.predictor import BatchPredictions

KEY = "key"
# Maximum time for which a file of the log is written, and by which two clocks differ.
_FILE_S = 3600.0
# Rows per call of the models, if logged batches have the same columns.
_CALL_ROWS = 4096

Outputs = Mapping[str, npt.NDArray[Any]]
# From [rows] keys and the outputs of one version to [rows] losses; NaN for rows without a label.
Losses = Callable[[npt.NDArray[np.object_], Outputs], npt.NDArray[np.float64]]


class ReplayModel(Protocol):
    """A loaded version; `core.scoring.online.OnlineModel` is one."""

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> BatchPredictions:
        """Predictions for rows, and faults by row.

        Args:
            columns: [rows, ...] values by name.

        Raises:
            KeyError: a column that the version reads is missing.
        """


@dataclass(frozen=True)
class Tolerance:
    """Tolerance of the comparison: numbers are equal if |canary - stable| <= absolute + relative * |stable|.

    Args:
        relative: fraction of the stable version's number, 0 or more.
        absolute: difference in the unit of the output, 0 or more.
    """

    relative: float = 1e-5
    absolute: float = 1e-6


@dataclass(frozen=True)
class ReplayEvidence:
    """Evidence of replayed rows.

    Attributes:
        replay: counts of rows by how they differ.
        losses: paired differences of the loss of labelled rows, canary minus stable version.
    """

    replay: Replay = field(default_factory=Replay)
    losses: Differences = field(default_factory=Differences)

    def __add__(self, other: ReplayEvidence) -> ReplayEvidence:
        return ReplayEvidence(self.replay + other.replay, self.losses + other.losses)


class ReplaySession:
    """Replays a growing request log, each file once.

    Args:
        folder: path or URI of the request log.
        canary_version: version whose logged requests are replayed.
        stable: the stable version, loaded.
        canary: the canary, loaded.
        tolerance: tolerance of the comparison; None for the default.
        losses: losses of labelled rows; None without labels.
        before: writers of the log before the canary, as of `writers`, whose files are ignored.
        since: earliest time of replayed rows, in seconds since 1970; 0 for no limit.
    """

    def __init__(
        self,
        folder: str,
        canary_version: str,
        stable: ReplayModel,
        canary: ReplayModel,
        *,
        tolerance: Tolerance | None = None,
        losses: Losses | None = None,
        before: Iterable[str] = (),
        since: float = 0.0,
    ) -> None:
        self.evidence = ReplayEvidence()
        self._folder = folder
        self._version = canary_version
        self._stable = stable
        self._canary = canary
        self._tolerance = tolerance or Tolerance()
        self._losses = losses
        self._before = frozenset(before)
        self._since = since
        self._read: set[str] = set()
        self._labelled: set[str] = set()

    def update(self, maximum_rows: int = 100_000) -> ReplayEvidence:
        """Replays the files that were completed since the last call.

        Args:
            maximum_rows: number of rows after which further files are left to the next call.

        Returns:
            The evidence of all calls.

        Raises:
            UsageError: a version cannot score the logged columns, or the versions have no output in common.
            DataError: a file is damaged.
            PlatformError: a model failed for a reason other than its rows.
        """
        files = log_files(self._folder)
        # Removed files were too old, and their names are never used again.
        self._read &= {file.name for file in files}
        rows = 0
        for file in files:
            if file.name in self._read or file.writer in self._before:
                continue
            # With a margin, because a file begins before its last rows, and the clock of another machine may be behind.
            if self._since and begins_before(file.name, self._since - _FILE_S):
                continue
            if rows >= maximum_rows:
                break
            try:
                batches = file.batches()
            except FileNotFoundError:
                continue
            wanted = [batch for batch in batches if batch.version == self._version and batch.time >= self._since]
            rows += sum(batch.rows for batch in wanted)
            self.evidence += replay(wanted, self._stable, self._canary, self._tolerance, self._losses, self._labelled)
            self._read.add(file.name)
        return self.evidence


def replay(
    batches: Iterable[LoggedBatch],
    stable: ReplayModel,
    canary: ReplayModel,
    tolerance: Tolerance | None = None,
    losses: Losses | None = None,
    labelled: set[str] | None = None,
) -> ReplayEvidence:
    """Scores logged rows with both versions and compares the rows.

    Args:
        batches: batches of the request log.
        stable: the stable version, loaded.
        canary: the canary, loaded.
        tolerance: tolerance of the comparison; None for the default.
        losses: losses of labelled rows; None without labels.
        labelled: keys whose losses are already counted, to which the keys of these rows are added. A key counts once,
            because a repeated row is no further evidence.

    Raises:
        UsageError: a version cannot score the logged columns, or the versions have no output in common.
        PlatformError: a model failed for a reason other than its rows.
    """
    found, labelled = ReplayEvidence(), set() if labelled is None else labelled
    for columns in _joined(batches):
        rows = len(next(iter(columns.values())))
        answers = [_answered(scorer, columns, name) for scorer, name in ((stable, "stable"), (canary, "canary"))]
        good = [np.zeros(rows, bool), np.zeros(rows, bool)]
        for mask, (at, _) in zip(good, answers, strict=True):
            mask[at] = True
        both = np.flatnonzero(good[0] & good[1])
        ours, theirs = ({n: v[np.searchsorted(at, both)] for n, v in outputs.items()} for at, outputs in answers)
        differing = _differing(ours, theirs, len(both), tolerance or Tolerance())
        counts = Replay(rows, int(differing.sum()), int((good[0] & ~good[1]).sum()), int((good[1] & ~good[0]).sum()))
        differences = Differences()
        if losses is not None and KEY in columns and len(both):
            keys = columns[KEY][both]
            paired = losses(keys, theirs) - losses(keys, ours)
            new = {k: d for k, d in zip(keys.tolist(), paired.tolist(), strict=True) if d == d and k not in labelled}
            labelled.update(new)
            differences = Differences.of(new.values())
        found += ReplayEvidence(counts, differences)
    return found


def _joined(batches: Iterable[LoggedBatch]) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The columns of batches. Consecutive batches with the same columns are concatenated."""
    waiting: list[LoggedBatch] = []
    for batch in filter(lambda each: each.rows, batches):
        if waiting and (_form(waiting[0]) != _form(batch) or sum(b.rows for b in waiting) >= _CALL_ROWS):
            yield _concatenated(waiting)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield _concatenated(waiting)


def _form(batch: LoggedBatch) -> Sequence[object]:
    return [(name, values.dtype, values.shape[1:]) for name, values in batch.columns.items()]


def _concatenated(batches: Sequence[LoggedBatch]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.concatenate([batch.columns[name] for batch in batches]) for name in batches[0].columns}


def _answered(
    scorer: ReplayModel, columns: Mapping[str, npt.NDArray[Any]], name: str
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
    """Indices of the rows that a version scores without a fault, and its outputs for them, without the key."""
    try:
        predicted = scorer.predict(columns)
    except KeyError as error:
        raise UsageError(
            f"the {name} version cannot score the logged requests",
            expected="requests with all inputs of both versions",
            received=f"requests without {error}",
            fix="Replay only a canary that reads the stable version's inputs; turn the replay off for others",
        ) from error
    whole = ~np.isin(predicted.at, list(predicted.faults))
    return predicted.at[whole], {n: v[whole] for n, v in predicted.outputs.items() if n != KEY}


def _differing(ours: Outputs, theirs: Outputs, rows: int, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """[rows] bool: whether a common output of both versions differs by more than the tolerance."""
    common = [name for name in ours if name in theirs]
    if not common:
        raise UsageError(
            "the predictions of the versions cannot be compared",
            expected="an output that both have",
            received=f"{', '.join(sorted(ours))} of the stable version, {', '.join(sorted(theirs))} of the canary",
        )
    differing = np.zeros(rows, bool)
    for name in common:
        differing |= ~_equal(ours[name], theirs[name], tolerance)
    return differing


def _equal(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """[rows] bool: whether each row of the stable version's output is equal to that of the canary."""
    rows = len(ours)
    if ours.dtype == object or theirs.dtype == object:
        return np.array([_equal_values(a, b, tolerance) for a, b in zip(ours, theirs, strict=True)], bool)
    if ours.shape != theirs.shape:
        return np.zeros(rows, bool)
    near = np.isclose(theirs, ours, rtol=tolerance.relative, atol=tolerance.absolute)
    return near.reshape(rows, -1).all(axis=1) if rows else np.zeros(0, bool)


def _equal_values(ours: Any, theirs: Any, tolerance: Tolerance) -> bool:
    """Whether two values of one row are equal; they are texts, or lists whose lengths may differ."""
    one, other = np.asarray(ours), np.asarray(theirs)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fiub" and other.dtype.kind in "fiub":
        return bool(np.isclose(other, one, rtol=tolerance.relative, atol=tolerance.absolute).all())
    return bool(np.all(one == other))
