from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.errors import ProblemError
from headrace.components.problem import Training
from headrace.components.progress import silent
from headrace.components.train import loop
from headrace.components.train.objective import Objective

OBJECTIVE = Objective("regression", (), mean=0.0, deviation=2.0, shares=())
ROWS, BATCH = 100, 10


def linear() -> Any:
    inputs = {"x": keras.Input(shape=(), name="x")}
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(keras.ops.expand_dims(inputs["x"], 1))
    return keras.Model(inputs, outputs)


def weights(core: Any) -> list[Any]:
    return [weight.value.numpy() for weight in core.weights]


def batches(slope: float = 3.0) -> Any:
    x = tf.random.stateless_uniform([ROWS], [1, 2])
    return tf.data.Dataset.from_tensor_slices(({"x": x}, slope * x)).batch(BATCH).repeat()


def fit(core: Any, evaluate: Any, training: Training, data: Any = None, report: Any = silent) -> loop.Fitted:
    data = batches() if data is None else data
    strategy = tf.distribute.get_strategy()
    return loop.fit(
        core, OBJECTIVE, strategy, data, evaluate, rows=ROWS, batch_size=BATCH, training=training, report=report
    )


def falling() -> Any:
    losses = itertools.count(100, -1)
    return lambda: float(next(losses))


@pytest.mark.parametrize(
    ("rows", "batch", "epochs", "steps", "ends"),
    [
        (100, 10, 3, None, [10, 20, 30]),
        (100, 30, 3, None, [4, 7, 10]),
        (100, 100, 2, None, [1, 2]),
        (100, 10, 3, 25, [10, 20, 25]),
        (100, 10, 1, 30, [10, 20, 30]),
        (100, 30, 9, 1, [1]),
    ],
)
def test_epochs_end_when_every_row_was_seen(
    rows: int, batch: int, epochs: int, steps: int | None, ends: list[int]
) -> None:
    assert list(loop.epoch_ends(rows, batch, epochs, steps)) == ends


def test_it_takes_adams_steps() -> None:
    core = linear()
    fitted = fit(core, falling(), Training(steps=3, learning_rate=0.01))
    expected = linear()
    optimizer = keras.optimizers.Adam(0.01)
    total = 0.0
    for features, labels in batches().take(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(expected(features)[:, 0] - labels)) / 4
        optimizer.apply(
            tape.gradient(loss, [v.value for v in expected.trainable_variables]), expected.trainable_variables
        )
        total += float(loss)
    np.testing.assert_allclose(weights(core)[0], weights(expected)[0], rtol=1e-6)
    # What is reported is in the label's own unit, squared.
    assert fitted.history["loss"] == [pytest.approx(total / 3 * 4, rel=1e-6)]
    assert 0 <= fitted.input_seconds <= fitted.train_seconds


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 37])
def test_steps_are_exact_and_win_over_epochs(steps: int) -> None:
    fitted = fit(linear(), falling(), Training(steps=steps, epochs=1))
    assert fitted.steps == steps
    assert fitted.stopped == f"steps: all {steps} taken"
    assert len(fitted.history["eval_loss"]) == math.ceil(steps / 10)


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    core, seen = linear(), []
    losses = iter([5.0, 3.0, 4.0, 3.0, 3.5, 1.0])

    def evaluate() -> float:
        seen.append(weights(core))
        return next(losses)

    fitted = fit(core, evaluate, Training(epochs=30, patience=3, learning_rate=0.1))
    assert (fitted.best_epoch, fitted.steps, len(seen)) == (2, 50, 5)
    assert fitted.stopped == "early stopping: 3 epochs without a better eval loss than 3 of epoch 2"
    for weight, best, last in zip(weights(core), seen[1], seen[-1], strict=True):
        np.testing.assert_array_equal(weight, best)
        assert not np.array_equal(best, last)


def test_progress_says_how_far_it_is() -> None:
    told: list[tuple[str, int | None, int | None]] = []

    def report(message: str, *, done: int | None = None, total: int | None = None) -> None:
        told.append((message, done, total))

    fitted = fit(linear(), falling(), Training(epochs=2), report=report)
    assert told[1] == (f"epoch 2: loss {fitted.history['loss'][1]:.4g}, eval loss 99", 20, 20)
    assert len(told) == 2


def test_long_epochs_report_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(loop, "_STEPS_A_CALL", 4)
    whole, parts = linear(), linear()
    fit(parts, falling(), Training(epochs=1), report=lambda message, **_: told.append(message))
    monkeypatch.undo()
    fit(whole, falling(), Training(epochs=1))
    assert told[:2] == ["epoch 1: step 4", "epoch 1: step 8"]
    np.testing.assert_array_equal(weights(whole)[0], weights(parts)[0])


def test_a_loss_that_is_not_finite_names_the_step_and_the_learning_rate() -> None:
    x = tf.ones([ROWS])
    labels = tf.where(tf.range(ROWS) == 34, np.nan, 1.0)
    data = tf.data.Dataset.from_tensor_slices(({"x": x}, labels)).batch(BATCH).repeat()
    with pytest.raises(ProblemError) as caught:
        fit(linear(), falling(), Training(learning_rate=0.25), data)
    assert "step 4: the loss is not finite" in caught.value.paragraph
    assert "at learning rate 0.25" in caught.value.paragraph


def test_an_eval_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ProblemError, match="step 10: the loss on the eval split is not finite"):
        fit(linear(), lambda: math.inf, Training())


def test_losses_of_layers_are_trained_on() -> None:
    inputs = {"x": keras.Input(shape=(), name="x")}
    dense = keras.layers.Dense(
        1, kernel_initializer="ones", use_bias=False, kernel_regularizer=keras.regularizers.L2(1.0)
    )
    core = keras.Model(inputs, dense(keras.ops.expand_dims(inputs["x"], 1)))
    fit(core, falling(), Training(steps=50, learning_rate=0.1), batches(slope=1.0))
    # The data alone would leave it at 1.
    assert 0 < weights(core)[0][0, 0] < 0.5


def test_evaluation_is_the_mean_over_rows_of_unequal_blocks() -> None:
    blocks = [({"x": tf.ones([3])}, tf.fill([3], 2.0)), ({"x": tf.ones([1])}, tf.fill([1], 4.0))]
    evaluate = loop.evaluator(linear(), OBJECTIVE, blocks)
    assert evaluate() == pytest.approx((3 * 4 + 16) / 4)
