"""Paired replay: each row by how both versions answer it, each file of the request log once, and losses by key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.deploy.canary.labels import LabelLosses, read_labels
from headrace.components.deploy.canary.replay import ReplayEvidence, ReplaySession, Tolerance, replay
from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.parquet import convert
from headrace.components.request_log.spool import recover, writers
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.scoring.predictor import BatchPredictions, PredictionFault


class Linear:
    """A version that predicts `slope * x`, fails on some values of x, and answers others with NaN."""

    def __init__(self, slope: float, fails_on: float = -1.0, nan_on: float = -2.0, output: str = "prediction") -> None:
        self._slope, self._fails_on, self._nan_on, self._output = slope, fails_on, nan_on, output
        self.calls = 0

    def predict(self, columns: Mapping[str, Any]) -> BatchPredictions:
        self.calls += 1
        x = columns["x"]
        at = np.flatnonzero(x != self._fails_on)
        values = np.where(x[at] == self._nan_on, np.nan, self._slope * x[at])
        faults = {int(row): PredictionFault("model_failed", "no") for row in np.flatnonzero(x == self._fails_on)}
        faults |= {int(row): PredictionFault("not_finite", "no", "nan") for row in np.flatnonzero(x == self._nan_on)}
        outputs = {"key": columns["key"][at], self._output: values} if "key" in columns else {self._output: values}
        return BatchPredictions(outputs, at, dict(sorted(faults.items())), "v")


def batch(x: list[float], keys: list[str] | None = None, version: str = "v2", time: float = 1.0) -> LoggedBatch:
    columns: dict[str, Any] = {"x": np.array(x)}
    if keys is not None:
        columns["key"] = np.array(keys, object)
    return LoggedBatch(columns, {"prediction": np.zeros(len(x))}, version, time)


def counts(replayed: ReplayEvidence) -> tuple[int, int, int, int]:
    found = replayed.replay
    return found.rows, found.differing, found.stable_only, found.canary_only


def test_equal_versions_have_no_differences() -> None:
    assert counts(replay([batch([1, 2, 3])], Linear(2.0), Linear(2.0))) == (3, 0, 0, 0)


def test_each_row_is_counted_by_how_both_answer_it() -> None:
    # The canary fails on 1, the stable version answers 2 with NaN, both fail on 3, and 0 alone is equal.
    stable, canary = Linear(2.0, fails_on=3, nan_on=2), Linear(2.5, fails_on=1, nan_on=3)
    assert counts(replay([batch([0, 1, 2, 3, 4, 5])], stable, canary)) == (6, 2, 1, 1)


def test_predictions_within_the_tolerance_are_equal() -> None:
    rows = [batch([1.0, 10.0])]
    assert counts(replay(rows, Linear(2.0), Linear(2.0 + 1e-5)))[1] == 0
    assert counts(replay(rows, Linear(2.0), Linear(2.002)))[1] == 2
    assert counts(replay(rows, Linear(2.0), Linear(2.002), Tolerance(relative=0, absolute=0.01)))[1] == 1


def test_texts_and_lists_are_compared_by_row() -> None:
    class Fixed:
        def __init__(self, **outputs: np.ndarray[Any, Any]) -> None:
            self._outputs = outputs

        def predict(self, columns: Mapping[str, Any]) -> BatchPredictions:
            return BatchPredictions(self._outputs, np.arange(3), {}, "v")

    ragged = np.empty(3, object)
    ragged[:] = [np.array([1.0]), np.array([1.0, 2.0]), np.array([])]
    other = np.empty(3, object)
    other[:] = [np.array([1.0]), np.array([1.0, 2.5]), np.array([1.0])]
    rows = [batch([1, 2, 3])]
    assert counts(replay(rows, Fixed(p=ragged), Fixed(p=other)))[1] == 2
    texts = Fixed(p=np.array([b"a", b"b", b"c"], object)), Fixed(p=np.array([b"a", b"b", b"d"], object))
    assert counts(replay(rows, *texts))[1] == 1
    matrix = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    changed = matrix + np.array([[0, 0], [0, 1], [0, 0]])
    assert counts(replay(rows, Fixed(p=matrix), Fixed(p=changed)))[1] == 1
    # A version with more classes differs in all rows.
    assert counts(replay(rows, Fixed(p=matrix), Fixed(p=matrix[:, :1])))[1] == 3


def test_logged_batches_are_scored_in_few_calls_whatever_their_columns() -> None:
    stable, canary = Linear(2.0), Linear(2.0)
    batches = [batch([1.0]) for _ in range(100)] + [batch([1.0], ["a"]), batch([]), batch([2.0], ["b"])]
    assert counts(replay(batches, stable, canary)) == (102, 0, 0, 0)
    assert (stable.calls, canary.calls) == (2, 2)


def test_versions_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        replay([batch([1.0])], Linear(2.0), Linear(2.0, output="score"))
    without = LoggedBatch({"y": np.array([1.0])}, {}, "v2", 1.0)
    with pytest.raises(UsageError, match="the stable version cannot score the logged requests") as raised:
        replay([without], Linear(2.0), Linear(2.0))
    assert "requests without 'x'" in raised.value.paragraph


def write(folder: Path, name: str, *batches: LoggedBatch) -> None:
    (folder / f"requests-{name}.jsonl").write_bytes(b"".join(each.to_line() for each in batches))


def test_a_session_replays_each_file_once_also_after_its_conversion(tmp_path: Path) -> None:
    session = ReplaySession(str(tmp_path), "v2", Linear(2.0), Linear(2.5))
    assert session.update() == ReplayEvidence()
    write(tmp_path, "2", batch([1, 2]), batch([3], version="v1"))
    assert counts(session.update()) == (2, 2, 0, 0)
    convert(RequestLogConfig(str(tmp_path)))
    # A writer that began earlier may complete its file later.
    write(tmp_path, "1", batch([5]))
    assert counts(session.update()) == (3, 3, 0, 0)
    assert counts(session.update()) == (3, 3, 0, 0)


def test_requests_before_the_canary_are_left_out_whatever_the_clock_was(tmp_path: Path) -> None:
    # The version was tried before, by two processes, of which one was killed; then the clock was set back an hour.
    write(tmp_path, "20270101T120000000000Z-host-1-7-aa-1", batch([1], time=7200.0))
    write(tmp_path, "20270101T120500000000Z-host-1-8-bb-1", batch([2], time=7500.0))
    (tmp_path / "requests-20270101T120500000000Z-host-1-8-bb-1.jsonl").rename(
        tmp_path / ".requests-20270101T120500000000Z-host-1-8-bb-1.jsonl"
    )
    before = writers(tmp_path)
    assert before == ["host-1-7-aa", "host-1-8-bb"]
    session = ReplaySession(str(tmp_path), "v2", Linear(2.0), Linear(2.5), before=before)
    assert session.update() == ReplayEvidence()
    recover(tmp_path)
    # The canary's process has the id of an earlier one.
    write(tmp_path, "20270101T110600000000Z-host-1-7-cc-1", batch([3, 4, 5], time=3960.0))
    assert counts(session.update()) == (3, 3, 0, 0)
    # A call that resumes after a kill replays the same.
    again = ReplaySession(str(tmp_path), "v2", Linear(2.0), Linear(2.5), before=before)
    convert(RequestLogConfig(str(tmp_path)))
    assert counts(again.update()) == counts(session.update()) == (3, 3, 0, 0)


def test_a_session_leaves_files_beyond_the_maximum_to_the_next_call(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, str(number), batch([1, 2]))
    session = ReplaySession(str(tmp_path), "v2", Linear(2.0), Linear(2.0))
    assert [session.update(maximum_rows=3).replay.rows for _ in range(3)] == [4, 6, 6]


def test_losses_are_paired_by_key_and_rows_without_a_label_are_left_out() -> None:
    # Labels are 2 x: the stable version is exact, and the canary is off by 0.5 x = 1 and 2, in units of 4.
    losses = LabelLosses({"a": 4.0, "b": 8.0}, scale=4.0)
    rows = [batch([2, 4, 5], ["a", "b", "c"]), batch([6])]
    found = replay(rows, Linear(2.0), Linear(2.5), losses=losses).losses
    assert (found.rows, found.mean) == (2, pytest.approx((0.25 + 0.5) / 2))


def test_the_loss_of_a_key_counts_once_however_often_it_is_requested(tmp_path: Path) -> None:
    losses = LabelLosses({"a": 4.0, "b": 8.0}, scale=4.0)
    write(tmp_path, "1", batch([2, 2], ["a", "a"]), batch([2], ["a"]))
    session = ReplaySession(str(tmp_path), "v2", Linear(2.0), Linear(2.5), losses=losses)
    assert session.update().losses.rows == 1
    write(tmp_path, "2", batch([2, 4], ["a", "b"]))
    found = session.update()
    assert (found.replay.rows, found.losses.rows, found.losses.mean) == (5, 2, pytest.approx((0.25 + 0.5) / 2))


def test_losses_of_classes_are_brier_scores() -> None:
    keys = np.array(["a", "b", "c"], object)
    two = LabelLosses({"a": 1.0, "b": 0.0}, ("no", "yes"))
    assert two(keys, {"probability": np.array([0.75, 0.5, 0.5], np.float32)}).tolist()[:2] == [0.0625, 0.25]
    three = LabelLosses({"a": 2.0, "b": 0.0}, ("x", "y", "z"))
    probabilities = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    found = three(keys, {"probabilities": probabilities})
    assert found.tolist()[:2] == [0.0, 1.0]
    assert np.isnan(found[2])
    with pytest.raises(UsageError, match="an output probabilities"):
        three(keys, {"prediction": np.zeros(3)})
    with pytest.raises(UsageError):
        LabelLosses({}, scale=0.0)


def problem(label: Numeric | Categorical, key: str | None = "id") -> Problem:
    return Problem(name="p", key=key, label=label, features=[Numeric("x")])


def test_labels_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,y\na,1.5\nb,\n,3\nc,oops\nd,nan\ne,2\ne,4\n")
    assert dict(read_labels(problem(Numeric("y")), str(path), 3.0).labels) == {"a": 1.5, "e": 4.0}
    path.write_text("id,y\na,yes\nb,no\nc,maybe\n")
    losses = read_labels(problem(Categorical("y", vocabulary=["no", "yes"])), str(path))
    assert (dict(losses.labels), losses.classes, losses.output) == ({"a": 1.0, "b": 0.0}, ("no", "yes"), "probability")
    with pytest.raises(DataError, match="no row has a usable label"):
        read_labels(problem(Numeric("y")), str(path))
    with pytest.raises(UsageError, match="labels cannot be joined to requests"):
        read_labels(problem(Numeric("y"), key=None), str(path))
