"""A session that takes chunks of batches trains exactly as one that takes batches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.loop.session import TrainSession
from headrace.components.train.model.objective import Objective

ROWS, CHUNK = 8, 5
OBJECTIVE = Objective("regression", (), mean=0.0, deviation=1.0, shares=())
_random = np.random.default_rng(5)
NUMBERS = _random.normal(size=(40, ROWS, 3)).astype(np.float32)
LABELS = NUMBERS.sum(axis=2)


def batches(start: int, *_: int) -> Any:
    return tf.data.Dataset.from_tensor_slices(({"x": NUMBERS}, LABELS)).repeat().skip(start)


def chunks(start: int) -> Any:
    return batches(start).batch(CHUNK, drop_remainder=True)


def session(*, in_chunks: bool) -> TrainSession:
    inputs = {"x": keras.Input((3,), name="x")}
    core = keras.Model(
        inputs, keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(1))(inputs["x"])
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(core.trainable_variables)
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    return TrainSession(core, OBJECTIVE, optimizer, one, batches, [], chunks=chunks if in_chunks else None)


@pytest.mark.parametrize("start", [0, 3])
def test_chunks_change_no_loss_and_no_weight(start: int) -> None:
    by_batch, by_chunk = session(in_chunks=False), session(in_chunks=True)
    for each in (by_batch, by_chunk):
        each.feed(start)
    # Calls end within chunks, at their ends, and beyond several.
    for count in (0, 1, 3, 1, 5, 0, 12, 2):
        ours, theirs = by_chunk.run(count), by_batch.run(count)
        assert (ours.steps, ours.loss_sum) == (theirs.steps, theirs.loss_sum)
        assert ours.steps == count
    for name, value in by_batch.state().items():
        np.testing.assert_array_equal(by_chunk.state()[name], value)


def test_a_fed_session_begins_at_its_step_again() -> None:
    trained = session(in_chunks=True)
    state = trained.state()
    losses = []
    for _ in range(2):
        trained.restore(state)
        trained.feed(2)
        losses.append(trained.run(7).loss_sum)
    assert losses[0] == losses[1]


def test_it_stops_after_a_loss_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = LABELS.copy()
    labels[6, 0] = np.inf
    monkeypatch.setitem(globals(), "LABELS", labels)
    taken = session(in_chunks=True).run(20)
    assert (taken.steps, taken.loss_sum) == (7, np.inf)
