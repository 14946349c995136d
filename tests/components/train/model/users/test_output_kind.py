"""Models that end in logits or in probabilities are told apart, or refused where model, loss and task disagree."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model.loss import Criterion
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.users.output_kind import output_kind
from headrace.core.errors import ProblemError

BINARY = Objective("binary", ("no", "yes"), 0.0, 1.0, (0.5, 0.5))
CLASSES = Objective("multiclass", ("a", "b", "c"), 0.0, 1.0, (0.2, 0.3, 0.5))
REGRESSION = Objective("regression", (), 0.0, 1.0, ())
ROWS = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
BCE, SPARSE = keras.losses.BinaryCrossentropy, keras.losses.SparseCategoricalCrossentropy


def model(objective: Objective, activation: Any, loss: Any = None) -> Any:
    x = keras.Input(shape=(2,))
    hidden = keras.layers.Dense(4, activation="relu")(x)
    made = keras.Model(x, keras.layers.Dense(objective.units, activation=activation)(hidden))
    if loss is not None:
        made.compile(loss=loss)
    return made


def kind(made: Any, objective: Objective) -> str:
    return output_kind(made, lambda: made(ROWS, training=False), objective, "problem.py, build_model")


def own(labels: Any, outputs: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(labels - outputs), axis=-1)


@pytest.mark.parametrize(
    ("objective", "activation", "loss", "expected"),
    [
        (BINARY, None, None, "logits"),
        (BINARY, "tanh", None, "logits"),
        (BINARY, "sigmoid", None, "probabilities"),
        (BINARY, "hard_sigmoid", None, "probabilities"),
        (BINARY, "sigmoid", "binary_crossentropy", "probabilities"),
        (BINARY, "sigmoid", [BCE(label_smoothing=0.1)], "probabilities"),
        (BINARY, "sigmoid", "mse", "probabilities"),
        (BINARY, None, BCE(from_logits=True), "logits"),
        (BINARY, None, partial(keras.losses.binary_crossentropy, from_logits=True), "logits"),
        (BINARY, None, "hinge", "logits"),
        (BINARY, None, own, "logits"),
        (BINARY, "sigmoid", own, "probabilities"),
        (CLASSES, None, None, "logits"),
        (CLASSES, "softmax", None, "probabilities"),
        (CLASSES, "softmax", "sparse_categorical_crossentropy", "probabilities"),
        (CLASSES, None, SPARSE(from_logits=True), "logits"),
        (REGRESSION, None, "mse", "logits"),
    ],
)
def test_what_the_outputs_are(objective: Objective, activation: Any, loss: Any, expected: str) -> None:
    made = model(objective, activation, loss)
    before = made.get_weights()
    assert kind(made, objective) == expected
    for earlier, weight in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, earlier)


# Keras itself warns of a softmax over one number.
@pytest.mark.filterwarnings("ignore:(?s).*softmax over axis:UserWarning")
@pytest.mark.parametrize(
    ("objective", "activation", "loss", "said"),
    [
        (
            BINARY,
            None,
            "binary_crossentropy",
            'Dense(1, activation="sigmoid"), or loss=keras.losses.Binary',
        ),
        (BINARY, None, "mse", "the loss expects probabilities, and the model returns other values"),
        (BINARY, "sigmoid", BCE(from_logits=True), "would be applied twice"),
        (BINARY, "softmax", None, "a softmax over one number is always 1"),
        (BINARY, "sigmoid", BCE(reduction="sum"), "not a mean over rows"),
        (BINARY, "sigmoid", "categorical_crossentropy", "does not fit the labels, which are 0 or 1"),
        (CLASSES, None, SPARSE(), 'Expected Dense(3, activation="softmax")'),
        (CLASSES, "softmax", SPARSE(from_logits=True), "would be applied twice"),
        (CLASSES, "softmax", "categorical_crossentropy", "which are indices of classes"),
        (CLASSES, "softmax", "mse", "which are indices of classes"),
        (CLASSES, "sigmoid", None, "do not sum to 1"),
        (REGRESSION, "softmax", None, "whatever its weights are"),
    ],
)
def test_what_disagrees_is_refused(objective: Objective, activation: Any, loss: Any, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        kind(model(objective, activation, loss), objective)
    assert said in caught.value.paragraph
    assert "problem.py, build_model" in caught.value.paragraph


@pytest.mark.parametrize(
    ("task", "activation", "loss"),
    [
        (BINARY, "sigmoid", "binary_crossentropy"),
        (BINARY, None, BCE(from_logits=True)),
        (CLASSES, "softmax", "sparse_categorical_crossentropy"),
        (CLASSES, None, SPARSE(from_logits=True)),
    ],
)
def test_loss_and_predictions_are_those_of_keras(task: Objective, activation: Any, loss: Any) -> None:
    made = model(task, activation, loss)
    labels = np.arange(len(ROWS)) % len(task.classes)
    expected = made.evaluate(ROWS, labels[:, None] if task.units == 1 else labels, verbose=0)
    predicted = made.predict(ROWS, verbose=0)
    objective = Objective(task.task, task.classes, 0.0, 1.0, task.shares, kind(made, task))  # type: ignore[arg-type]
    plain = keras.Model(made.input, made.output)
    for core in (made, plain):
        criterion = Criterion(core, objective, 1)
        summed = tf.function(lambda f, y, core=core, c=criterion: c.sum_over_rows(f, y, core(f)), autograph=False)
        loss_sum = summed(tf.constant(ROWS), tf.constant(labels, tf.int32))
        np.testing.assert_allclose(loss_sum[0] / loss_sum[1], expected, rtol=1e-5)
    answers = objective.predictions(tf.constant(made(ROWS)))
    name = "probability" if task.units == 1 else "probabilities"
    probabilities = predicted[:, 0] if task.units == 1 else predicted
    if activation is None:
        probabilities = tf.sigmoid(probabilities) if task.units == 1 else tf.nn.softmax(probabilities)
    np.testing.assert_allclose(answers[name], probabilities, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:(?s).*softmax over axis:UserWarning")
@pytest.mark.parametrize("one", [1.0, 1.0 - 2.0**-24])
def test_a_softmax_over_one_number_is_named_however_a_processor_rounds_it(one: float) -> None:
    outputs = np.full((8, 1), one, np.float32)
    outputs[3] = 1.0
    with pytest.raises(ProblemError, match="a softmax over one number is always 1"):
        output_kind(model(BINARY, "softmax"), lambda: outputs, BINARY, "problem.py, build_model")
