"""Training criterion: the loss and the metrics of the Problem's objective, or of the user's compile()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from headrace.components.train.model.objective import Objective
from headrace.components.train.model.users.output_kind import loss_of


class Criterion:
    """The loss and the metrics of a training.

    Weights count as in Keras: a loss is the sum of weight times loss divided by the number of rows, whatever the sum of
    the weights, unless compiled with reduction="mean_with_sample_weight", which divides by the sum of the weights.

    Args:
        core: the model. If compiled with a loss, that loss is minimized; if compiled with metrics, they are measured.
        objective: the Problem's objective.
        replicas: number of replicas that divide a batch.
        class_weights: weight of a row of each class in training; None for equal weights.

    Attributes:
        scale: factor that converts a loss to the label's own unit.
    """

    def __init__(
        self, core: Any, objective: Objective, replicas: int, class_weights: Sequence[float] | None = None
    ) -> None:
        self._class_weights = class_weights
        self._core, self._objective, self._replicas = core, objective, replicas
        own = type(core).compute_loss is not keras.Model.compute_loss
        self._own_loss = bool(core.compiled) and (own or core.loss is not None)
        self._by_weight = not own and getattr(loss_of(core), "reduction", "") == "mean_with_sample_weight"
        self.measures = bool(core.compiled)
        self.scale = 1.0 if self._own_loss else objective.loss_scale

    def row_weights(self, labels: Any, weights: Any = None) -> Any:
        """The weight of each row in training: its sample weight times the weight of its class.

        Args:
            labels: of some rows.
            weights: [rows] float32 sample weights; None without.

        Returns:
            [rows] float32; None for equal weights.
        """
        if self._class_weights is None:
            return weights
        of_class = tf.gather(tf.constant(self._class_weights, tf.float32), tf.cast(labels, tf.int32))
        return of_class if weights is None else of_class * weights

    def loss(self, features: Any, labels: Any, outputs: Any, weights: Any = None) -> Any:
        """A replica's part of the loss, including losses of layers; the sum over all replicas is the mean.

        Args:
            features, labels, outputs: of the replica's rows; the number is the same in all replicas.
            weights: [rows], see `row_weights`.
        """
        if self._own_loss:
            # Keras itself divides by the number of replicas.
            return tf.cast(self._keras_loss(features, labels, outputs, weights), tf.float32)
        losses = self._objective.loss(labels, tf.cast(outputs, tf.float32))
        loss = tf.reduce_mean(losses if weights is None else losses * weights)
        total = tf.add_n([loss, *(tf.cast(added, tf.float32) for added in self._core.losses)])
        return total / self._replicas if self._replicas > 1 else total

    def sum_over_rows(self, features: Any, labels: Any, outputs: Any, weights: Any = None, filled: Any = None) -> Any:
        """The sum of the rows' losses, and its divisor: [2] float64.

        Args:
            features, labels, outputs: of some rows.
            weights: [rows] float32 sample weights; None without.
            filled: [rows] float32, 0 for a row that only pads the block, else 1; None if all rows count.
        """
        rows = tf.cast(tf.shape(labels)[0], tf.float64)
        counted = rows if filled is None else tf.reduce_sum(tf.cast(filled, tf.float64))
        if not self._own_loss:
            losses = self._objective.loss(labels, tf.cast(outputs, tf.float32))
            losses = losses if weights is None else losses * weights
            losses = losses if filled is None else tf.where(filled > 0, losses, 0.0)
            return tf.stack([tf.reduce_sum(tf.cast(losses, tf.float64)), counted])
        both = _product(weights, filled)
        total = tf.cast(self._keras_loss(features, labels, outputs, both), tf.float64) * self._replicas
        added = tf.add_n([tf.constant(0.0, tf.float64), *(tf.cast(one, tf.float64) for one in self._core.losses)])
        if self._by_weight and both is not None:
            rows = counted = tf.reduce_sum(tf.cast(both, tf.float64))
        return tf.stack([(total - added) * rows + added * counted, counted])

    def update_metrics(self, features: Any, labels: Any, outputs: Any, weights: Any = None, filled: Any = None) -> None:
        """Adds rows to the metrics of compile(); see `sum_over_rows` for the arguments.

        Keras' `metrics`, unlike its `weighted_metrics`, ignore weights, so rows that only pad a block are removed.
        On a TPU, whose shapes are static, they stay, and only `weighted_metrics` are exact.
        """
        if not self.measures:
            return
        if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
            weights = _product(weights, filled)
        elif filled is not None:
            rows = tf.where(filled > 0)[:, 0]
            features, labels, outputs, weights = tf.nest.map_structure(
                lambda column: None if column is None else tf.gather(column, rows), (features, labels, outputs, weights)
            )
        self._core.compute_metrics(features, self._as_keras(labels), outputs, sample_weight=weights)

    def results(self) -> dict[str, float]:
        """The present values of compile()'s metrics, by Keras' names."""
        found = self._core.get_metrics_result() if self.measures else {}
        # The loss is measured here; Keras' own tracker of it is not updated.
        return {name: float(value) for name, value in found.items() if name != "loss"}

    def reset(self) -> None:
        """Resets the metrics of compile()."""
        if self.measures:
            self._core.reset_metrics()

    def _keras_loss(self, features: Any, labels: Any, outputs: Any, weights: Any = None) -> Any:
        return self._core.compute_loss(features, self._as_keras(labels), outputs, weights)

    def _as_keras(self, labels: Any) -> Any:
        """[batch, 1] for outputs of one unit, as Keras' losses expect it."""
        return labels[:, None] if self._objective.units == 1 else labels


def _product(weights: Any, filled: Any) -> Any:
    """[rows] the product of both; None if both are None."""
    if weights is None or filled is None:
        return filled if weights is None else weights
    return weights * filled
