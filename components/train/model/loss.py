"""Training criterion: the loss and the metrics of the problem's objective, or those of the user's compile()."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from headrace.components.train.model.objective import Objective


class Criterion:
    """The loss and the metrics of a training.

    Args:
        core: the model that is trained. Compiled with a loss, that loss is lowered; compiled with metrics, they are
            measured.
        objective: of the problem.
        replicas: how many divide a batch.

    Attributes:
        scale: what a loss is multiplied by to be in the label's own unit.
    """

    def __init__(self, core: Any, objective: Objective, replicas: int) -> None:
        self._core, self._objective, self._replicas = core, objective, replicas
        own = type(core).compute_loss is not keras.Model.compute_loss
        self._own_loss = bool(core.compiled) and (own or core.loss is not None)
        self.measures = bool(core.compiled)
        self.scale = 1.0 if self._own_loss else objective.loss_scale

    def loss(self, features: Any, labels: Any, outputs: Any) -> Any:
        """A replica's share of the loss, that of layers included: over all replicas it adds up to the mean.

        Args:
            features, labels, outputs: of the replica's rows. Every replica has as many.
        """
        if self._own_loss:
            # Keras divides by the replicas itself.
            return tf.cast(self._keras_loss(features, labels, outputs), tf.float32)
        loss = tf.reduce_mean(self._objective.loss(labels, tf.cast(outputs, tf.float32)))
        total = tf.add_n([loss, *(tf.cast(added, tf.float32) for added in self._core.losses)])
        return total / self._replicas if self._replicas > 1 else total

    def sum_over_rows(self, features: Any, labels: Any, outputs: Any, weights: Any = None) -> Any:
        """The sum of the rows' losses, float64.

        Args:
            features, labels, outputs: of some rows.
            weights: [rows] float32, 0 for a row that only fills the block; None where all count.
        """
        if not self._own_loss:
            losses = self._objective.loss(labels, tf.cast(outputs, tf.float32))
            losses = losses if weights is None else tf.where(weights > 0, losses, 0.0)
            return tf.reduce_sum(tf.cast(losses, tf.float64))
        total = tf.cast(self._keras_loss(features, labels, outputs, weights), tf.float64) * self._replicas
        added = tf.add_n([tf.constant(0.0, tf.float64), *(tf.cast(one, tf.float64) for one in self._core.losses)])
        rows = tf.cast(tf.shape(labels)[0], tf.float64)
        counted = rows if weights is None else tf.reduce_sum(tf.cast(weights, tf.float64))
        return (total - added) * rows + added * counted

    def update_metrics(self, features: Any, labels: Any, outputs: Any, weights: Any = None) -> None:
        """Adds rows to the metrics of compile().

        Keras' `metrics`, unlike its `weighted_metrics`, do not look at weights, so rows that only fill a block are
        taken out. On a TPU, whose shapes are static, they stay, and only `weighted_metrics` are exact.
        """
        if not self.measures:
            return
        if weights is not None and not isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
            rows = tf.where(weights > 0)[:, 0]
            features, labels, outputs = tf.nest.map_structure(
                lambda column: tf.gather(column, rows), (features, labels, outputs)
            )
            weights = None
        self._core.compute_metrics(features, self._as_keras(labels), outputs, sample_weight=weights)

    def results(self) -> dict[str, float]:
        """The metrics of compile() as they stand, by Keras' names."""
        found = self._core.get_metrics_result() if self.measures else {}
        # The loss is measured here, and Keras' own tracker of it is not fed.
        return {name: float(value) for name, value in found.items() if name != "loss"}

    def reset(self) -> None:
        """Forgets what the metrics of compile() have added up."""
        if self.measures:
            self._core.reset_metrics()

    def _keras_loss(self, features: Any, labels: Any, outputs: Any, weights: Any = None) -> Any:
        return self._core.compute_loss(features, self._as_keras(labels), outputs, weights)

    def _as_keras(self, labels: Any) -> Any:
        """[batch, 1] for outputs of one unit, as Keras' losses expect it."""
        return labels[:, None] if self._objective.units == 1 else labels
