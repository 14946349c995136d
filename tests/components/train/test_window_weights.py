"""Weights by age: a window with a half-life trains as Examples whose rows have the same weights in a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.day_spans import PROBLEM, Days, day, rows_of

from headrace.components.train.config import TrainConfig
from headrace.components.train.input.examples import open_examples
from headrace.components.train.input.shard_stream import Shards
from headrace.components.train.trainer import train
from headrace.core.storage import read_json

TASKS = {
    "regression": PROBLEM,
    "classes": PROBLEM.replace('Numeric("y")', 'Categorical("y", vocabulary=[str(n) for n in range(11)])'),
}
SPANS = 3


def trained(text: str) -> str:
    training = "training=Training(epochs=2, batch_size=16, hidden_units=[4], seed=3), gate=None,\n)"
    return text.replace("Splits\n", "Splits, Training\n").rstrip().removesuffix(")") + training


def weighted(text: str) -> str:
    return text.replace("quarantine_budget", 'weight="w",\n    quarantine_budget')


def window(folder: Path, text: str, weights: list[float] | None = None, **options: Any) -> Days:
    """A window of spans, with a column of weights by span or without."""
    days = Days(folder, problem=trained(text))
    header = "id,x,c,y" if weights is None else "id,x,c,y,w"
    for number in range(SPANS):
        rows = rows_of(day(number))
        if weights is not None:
            rows = [f"{row},{weights[number]}" for row in rows]
        days.ingest(days.arrival(day(number), rows, number, header), **options)
    return days


def rows_read(days: Days, split: str) -> Any:
    """The rows of a split as training reads them, shuffled and in order."""
    examples = open_examples(days.output, days.file.problem)
    shards = Shards.of(days.file.problem, getattr(examples, split), seed=5)
    return [shards.shuffled(1, 0), shards.in_order(0)]


def test_rows_have_the_weights_of_their_spans(tmp_path: Path) -> None:
    by_age = window(tmp_path / "age", PROBLEM, half_life=1)
    column = window(tmp_path / "column", weighted(PROBLEM), [0.25, 0.5, 1.0])
    both = window(tmp_path / "both", weighted(PROBLEM), [2.0, 3.0, 5.0], half_life=2)
    for split in ("train", "eval"):
        for ours, theirs, product in zip(*(rows_read(days, split) for days in (by_age, column, both)), strict=True):
            assert len(ours) == len(theirs) == 3
            np.testing.assert_array_equal(ours[1], theirs[1])
            np.testing.assert_array_equal(ours[2], theirs[2])
            assert set(ours[2].tolist()) == {0.25, 0.5, 1.0}
            expected = {number: np.float32(w) for number, w in enumerate([2 * 0.5, 3 * 2**-0.5, 5.0])}
            spans = np.searchsorted([0.25, 0.5, 1.0], ours[2])
            np.testing.assert_allclose(product[2], [expected[span] for span in spans.tolist()], rtol=1e-6)
    # By file, each worker has the weights of its own shards.
    shards = Shards.of(by_age.file.problem, open_examples(by_age.output, by_age.file.problem).train, seed=5)
    own = [shards.own(worker, SPANS) for worker in range(SPANS)]
    of_span = {day(0): 0.25, day(1): 0.5, day(2): 1.0}
    assert [of_span[Path(each.files[0]).parents[2].name] for each in own] == [each.weights[0] for each in own]


def test_training_is_that_with_a_column_of_weights(tmp_path: Path) -> None:
    by_age = window(tmp_path / "age", TASKS["classes"], half_life=1)
    column = window(tmp_path / "column", weighted(TASKS["classes"]), [0.25, 0.5, 1.0])
    found = []
    for days in (by_age, column):
        train(days.file, TrainConfig(days.output, str(days.folder / "model"), "0" * 16))
        found.append(read_json(str(days.folder / "model" / "training.json")))
    ours, theirs = found
    assert ours["history"] == theirs["history"]
    assert ours["baseline"] == theirs["baseline"]
    assert ours["span_weights"] == {day(0): 0.25, day(1): 0.5, day(2): 1.0}
    assert "span_weights" not in theirs


@pytest.mark.parametrize("task", TASKS)
def test_statistics_are_those_of_a_column_of_weights(tmp_path: Path, task: str) -> None:
    by_age = window(tmp_path / "age", TASKS[task], half_life=1)
    column = window(tmp_path / "column", weighted(TASKS[task]), [0.25, 0.5, 1.0])
    label, as_column = (read_json(f"{days.output}/statistics.json")["columns"]["y"] for days in (by_age, column))
    expected = as_column.pop("weighted")
    for measure, value in label.pop("weighted").items():
        assert value == (expected[measure] if measure == "vocabulary" else pytest.approx(expected[measure]))
    # What is not weighted stays as it is.
    assert label == as_column
