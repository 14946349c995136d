"""Objective of a task: its loss, its served predictions and its constant baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from headrace.components.train.model.scaled_numbers import multiplied
from headrace.core.problem import Problem, Task
from headrace.core.values.scaling import unscaled_number

OutputKind = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Objective:
    """The task of a Problem, with the statistics of its label.

    Attributes:
        task: regression, binary or multiclass.
        classes: the label's values in the order of its vocabulary; empty for regression.
        mean: mean of the label on the train split, as Examples hold it; 0 for classes.
        deviation: standard deviation of the label on the train split, 1 where it does not vary; 1 for classes.
        shares: fractions of the classes on the train split, all above 0; empty for regression.
        outputs: kind of outputs of a classifier; a user's model may end in a sigmoid or a softmax.
        threshold: of a binary task: the second class is predicted at this probability or above.
        exponent: of the label: labels and outputs are divided by 2 ** exponent, predictions are in its own unit.
    """

    task: Task
    classes: tuple[str, ...]
    mean: float
    deviation: float
    shares: tuple[float, ...]
    outputs: OutputKind = "logits"
    threshold: float = 0.5
    exponent: int = 0

    @property
    def units(self) -> int:
        """Number of outputs per row: one logit for binary, one per class for multiclass."""
        return len(self.classes) if self.task == "multiclass" else 1

    @property
    def loss_name(self) -> str:
        """The usual name of the loss."""
        return {
            "regression": "mean_squared_error",
            "binary": "binary_cross_entropy",
            "multiclass": "categorical_cross_entropy",
        }[self.task]

    @property
    def loss_scale(self) -> float:
        """Factor that converts a loss to the unit in which Examples hold the label (squared)."""
        return self.deviation**2

    @property
    def initial_outputs(self) -> list[float]:
        """The outputs, [units], of a constant model: the label's mean, or the log odds."""
        if self.task == "regression":
            return [self.mean]
        if self.task == "binary":
            return [math.log(self.shares[1] / self.shares[0])]
        return [math.log(share) for share in self.shares]

    def loss(self, labels: Any, outputs: Any) -> Any:
        """Loss of each row.

        Squared errors are in standard deviations of the label, so that one learning rate suits grams and tons.

        Args:
            labels: [batch], float32 for regression, else int32 indices into `classes`.
            outputs: [batch, units] float32: values, or the kind of `outputs`.

        Returns:
            [batch] float32.
        """
        if self.task == "regression":
            return tf.square((outputs[:, 0] - labels) / self.deviation)
        if self.outputs == "probabilities":
            # For the outputs of a sigmoid or softmax, Keras computes with its inputs.
            if self.task == "binary":
                return keras.losses.binary_crossentropy(tf.cast(labels, tf.float32)[:, None], outputs)
            return keras.losses.sparse_categorical_crossentropy(labels, outputs)
        if self.task == "binary":
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(labels, tf.float32), logits=outputs[:, 0])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs)

    def predictions(self, outputs: Any) -> dict[str, Any]:
        """The serving signature's predictions for outputs of shape [batch, units]."""
        if self.task == "regression":
            return {"prediction": multiplied(outputs[:, 0], self.exponent)}
        names = tf.constant(self.classes)
        if self.task == "binary":
            probability = self.probabilities(outputs)
            # A NaN is on neither side of the threshold: the check for finite numbers finds it, and no class hides it.
            positive = tf.cast(probability >= self.threshold, tf.int32)
            return {"prediction": tf.gather(names, positive), "probability": probability}
        predicted = tf.gather(names, tf.argmax(outputs, axis=1))
        return {"prediction": predicted, "probabilities": self.probabilities(outputs)}

    def probabilities(self, outputs: Any) -> Any:
        """The probability of the second class, [batch], or of each, [batch, classes], for [batch, units] outputs."""
        chosen = outputs[:, 0] if self.task == "binary" else outputs
        if self.outputs == "probabilities":
            return chosen
        return tf.sigmoid(chosen) if self.task == "binary" else tf.nn.softmax(chosen)

    def baseline(self, labels: Any, weights: Any = None) -> dict[str, Any]:
        """Loss of a constant: the train split's mean, or its class fractions.

        Args:
            labels: [rows], of another split.
            weights: [rows] sample weights; None for equal weights.
        """
        if self.task == "regression":
            errors = np.asarray(labels, dtype=np.float64) - self.mean
            mean_square = float(np.average(errors**2, weights=weights))
            return {
                "metric": "root_mean_squared_error",
                "value": unscaled_number(math.sqrt(mean_square), self.exponent),
            }
        losses = -np.log(np.asarray(self.shares))[np.asarray(labels)]
        return {"metric": "log_loss", "value": float(np.average(losses, weights=weights))}


def objective_of(problem: Problem, statistics: Mapping[str, Mapping[str, Any]]) -> Objective:
    """The objective of a Problem, from the label's statistics.

    Args:
        problem: the Problem.
        statistics: by column name, of numbers as Examples hold them.
    """
    measured = statistics[problem.label.name]
    if problem.task == "regression":
        mean, deviation = float(measured["mean"]), measured["standard_deviation"] or 1.0
        return Objective("regression", (), mean, deviation, (), exponent=measured.get("exponent", 0))
    classes = tuple(getattr(problem.label, "vocabulary", None) or ())
    counts = dict(measured["vocabulary"])
    # One added row per class (Laplace smoothing): the logarithm for a class without rows is finite.
    weights = [counts.get(name, 0) + 1 for name in classes]
    shares = tuple(weight / sum(weights) for weight in weights)
    return Objective(problem.task, classes, 0.0, 1.0, shares, threshold=problem.threshold)
