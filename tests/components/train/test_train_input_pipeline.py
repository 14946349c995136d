from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.problem import Categorical, Numeric, Problem
from headrace.components.problem_file import ProblemFile
from headrace.components.train import input_pipeline
from headrace.components.train.examples import Examples, open_examples
from headrace.components.train.input_pipeline import Columns

PROBLEM = Problem(
    name="small",
    key="id",
    label=Categorical("kind", vocabulary=["a", "b", "c"]),
    features=[Numeric("x", optional=True), Categorical("color", optional=True)],
)


@pytest.fixture(scope="module")
def examples(natality: ProblemFile, natality_examples: Path) -> Examples:
    return open_examples(str(natality_examples), natality.problem)


def source(
    problem: Problem, examples: Examples, *, memory: int | None = 1 << 33, seed: int = 1, batch: int = 64
) -> Any:
    return input_pipeline.open_source(
        problem, examples, lambda features: features, batch_size=batch, seed=seed, memory_bytes=memory
    )


def take(batches: Any, count: int) -> list[tuple[Any, ...]]:
    """The rows of the first batches, as (features and label in order), hashable."""
    rows: list[tuple[Any, ...]] = []
    for features, labels in itertools.islice(batches, count):
        columns = [np.nan_to_num(f.numpy(), nan=-1) if f.dtype == tf.float32 else f.numpy() for f in features.values()]
        rows.extend(zip(*(column.tolist() for column in (*columns, labels.numpy())), strict=True))
    return rows


def test_missing_values_and_classes(make_examples: Callable[..., Path]) -> None:
    rows = [
        {"id": str(i), "x": x, "color": color, "kind": kind}
        for i, (x, color, kind) in enumerate([(1.5, "red", "c"), (None, None, "a"), (-2.0, "blau ü", "b")] * 20)
    ]
    opened = open_examples(str(make_examples(PROBLEM, rows, shards=1)), PROBLEM)
    raw = input_pipeline.raw_rows(PROBLEM, opened.eval, 100)
    assert set(raw) == {"x", "color", "key"}
    assert len(raw["key"]) == opened.eval.rows
    (features, labels), *_ = list(source(PROBLEM, opened).eval_blocks)
    expected = {int(key): rows[int(key)] for key in raw["key"]}
    for i, row in enumerate(expected.values()):
        x = float(features["x"][i])
        assert math.isnan(x) if row["x"] is None else x == row["x"]
        assert features["color"][i].numpy().decode() == (row["color"] or "")
        assert "abc"[int(labels[i])] == row["kind"]


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 300), batch=st.integers(1, 70), seed=st.integers(0, 2**62))
def test_each_epoch_is_a_permutation(rows: int, batch: int, seed: int) -> None:
    columns = Columns({"x": tf.range(rows)}, tf.range(rows) * 2, rows)
    epochs = 3
    stream: list[int] = []
    for features, labels in input_pipeline.cached_batches(columns, batch, seed):
        assert features["x"].shape == (batch,)
        np.testing.assert_array_equal(features["x"] * 2, labels)
        stream.extend(features["x"].numpy().tolist())
        if len(stream) >= epochs * rows:
            break
    passes = [stream[epoch * rows : (epoch + 1) * rows] for epoch in range(epochs)]
    assert all(sorted(each) == list(range(rows)) for each in passes)
    if rows > 20:
        assert passes[0] != passes[1] != passes[2]


def test_the_permutations_are_uniform() -> None:
    rows, epochs = 12, 2000
    columns = Columns({}, tf.range(rows), rows)
    batches = itertools.islice(input_pipeline.cached_batches(columns, rows, 1), epochs)
    orders = np.stack([labels.numpy() for _, labels in batches])
    counts = np.stack([np.bincount(orders[:, place], minlength=rows) for place in range(rows)])
    expected = epochs / rows
    # Chi-squared of a 12 x 12 table with fixed margins has 121 degrees of freedom: 200 is beyond 5 deviations.
    assert ((counts - expected) ** 2 / expected).sum() < 200


def test_batches_follow_from_the_seed(natality: ProblemFile, examples: Examples) -> None:
    for memory in (1 << 33, 0):
        first = take(source(natality.problem, examples, memory=memory).batches, 40)
        assert first == take(source(natality.problem, examples, memory=memory).batches, 40)
        assert first != take(source(natality.problem, examples, memory=memory, seed=2).batches, 40)


def test_rows_that_do_not_fit_are_streamed_and_the_same(natality: ProblemFile, examples: Examples) -> None:
    held, streamed = source(natality.problem, examples), source(natality.problem, examples, memory=0)
    assert (held.cached, streamed.cached) == (True, False)
    np.testing.assert_array_equal(held.eval_labels, streamed.eval_labels)
    rows = examples.train.rows
    # As many batches as hold two epochs, and the rest of the last one.
    batches = math.ceil(2 * rows / 64)
    from_memory, from_disk = take(held.batches, batches), take(streamed.batches, batches)
    assert Counter(from_memory[:rows]) == Counter(from_memory[rows : 2 * rows]) == Counter(from_disk[:rows])
    assert Counter(from_disk[rows : 2 * rows]) == Counter(from_disk[:rows])
    assert from_disk[:rows] != from_disk[rows : 2 * rows]


def test_what_fits_is_judged_by_what_is_held() -> None:
    def blocks(dtype: Any, width: int) -> Any:
        return tf.data.Dataset.from_tensors((tf.zeros([5, width], dtype), tf.zeros([5], tf.float32)))

    # 100 rows of 3 + 1 numbers of 4 bytes are 1,600 bytes: a quarter of 6,400.
    assert input_pipeline.fits_in_memory(blocks(tf.float32, 3).padded_batch(1).unbatch(), 100, 6400)
    assert not input_pipeline.fits_in_memory(blocks(tf.float32, 3), 100, 6399)
    assert input_pipeline.fits_in_memory(blocks(tf.float32, 3), 1000, None)
    assert not input_pipeline.fits_in_memory(blocks(tf.string, 1), 100, 4 * 100 * 51)


def test_a_damaged_record_is_a_data_error(natality: ProblemFile, examples: Examples, tmp_path: Path) -> None:
    content = bytearray(Path(examples.train.files[0]).read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = tmp_path / "part-00000-of-00001.tfrecord"
    damaged.write_bytes(content)
    split = dataclasses.replace(examples.train, files=(str(damaged),))
    with pytest.raises(DataError, match="a shard cannot be read"):
        input_pipeline.load(input_pipeline.read_blocks(natality.problem, split, lambda f: f), split)


def test_fewer_rows_than_the_manifest_says_are_refused(natality: ProblemFile, examples: Examples) -> None:
    split = dataclasses.replace(examples.train, rows=examples.train.rows + 1)
    with pytest.raises(DataError, match=f"Expected {split.rows} rows. Received: {split.rows - 1} rows"):
        input_pipeline.load(input_pipeline.read_blocks(natality.problem, split, lambda f: f), split)
