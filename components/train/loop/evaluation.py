"""Measures a model on the eval split, on all the replicas there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.loss import Criterion
from headrace.components.train.model.objective import Objective
from headrace.core.metrics import Outcomes, measure


def evaluator(
    core: Any,
    objective: Objective,
    blocks: Any,
    *,
    criterion: Criterion | None = None,
    strategy: Any = None,
    metrics: Sequence[str] = (),
) -> Callable[[], dict[str, float]]:
    """A function that measures `core` over the rows of `blocks`.

    It gives "loss", the mean over the rows in the label's own unit, and `metrics`: those of METRICS that are named,
    computed from the outputs of all rows as `headrace evaluate` does.

    Args:
        core: a built Keras model.
        objective: of the problem.
        blocks: an iterable of (features, labels), the same at each pass and in each process.
        criterion: the loss; None for the objective's.
        strategy: the tf.distribute.Strategy of which each replica takes a block in turn; None for one device.
        metrics: names among METRICS.
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    criterion = criterion or Criterion(core, objective, replicas)

    def block_loss(features: Any, labels: Any, weights: Any = None) -> tuple[Any, Any]:
        outputs = core(features, training=False)
        criterion.update_metrics(features, labels, outputs, weights)
        return criterion.sum_over_rows(features, labels, outputs, weights), tf.cast(outputs, tf.float32)

    on_one = tf.function(block_loss, autograph=False, reduce_retracing=True)

    # Shapes are equal in every call: each replica's block is filled up to the first one's rows.
    @tf.function(autograph=False)
    def on_all(features: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
        losses, outputs = strategy.run(block_loss, args=(features, labels, weights))
        summed = strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return summed, strategy.gather(outputs, axis=0) if metrics else tf.zeros([0])

    def measured() -> Iterator[tuple[float, Any, Any]]:
        if replicas == 1:
            for features, labels in blocks:
                loss, outputs = on_one(features, labels)
                yield float(loss), outputs, labels
            return
        for group, labels, kept in _groups(blocks, replicas):
            loss, outputs = on_all(*_distribute(strategy, group))
            yield float(loss), tf.boolean_mask(outputs, kept) if metrics else outputs, labels

    def evaluate() -> dict[str, float]:
        losses, rows = 0.0, 0
        gathered: list[tuple[Any, Any]] = []
        for loss, outputs, labels in measured():
            losses += loss
            rows += int(labels.shape[0])
            if metrics:
                gathered.append((np.asarray(labels), np.asarray(outputs)))
        found = {"loss": losses / rows * criterion.scale, **criterion.results()}
        if metrics:
            labels, outputs = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
            everything = measure(_outcomes(objective, labels, outputs))
            for name in metrics:
                value = everything[name]
                found[name] = float("nan") if value is None else value
        return found

    return evaluate


def _groups(blocks: Any, replicas: int) -> Iterator[tuple[list[Any], Any, Any]]:
    """A block for each replica, all of as many rows; the labels of the rows that count, and where they are."""
    iterator, size = iter(blocks), 0
    while group := list(islice(iterator, replicas)):
        size = size or int(group[0][1].shape[0])
        counts = [int(labels.shape[0]) for _, labels in group] + [0] * (replicas - len(group))
        group += [group[0]] * (replicas - len(group))
        filled = []
        for (features, labels), count in zip(group, counts, strict=True):
            # A row that is there already fills the block: zeros could be what no model takes.
            chosen = np.minimum(np.arange(size), max(count - 1, 0))
            weights = tf.constant(np.arange(size) < count, tf.float32)
            filled.append((*tf.nest.map_structure(lambda c, i=chosen: tf.gather(c, i), (features, labels)), weights))
        kept = np.concatenate([np.arange(size) < count for count in counts])
        yield filled, tf.concat([labels[:count] for (_, labels), count in zip(group, counts, strict=True)], 0), kept


def _distribute(strategy: Any, group: list[Any]) -> Any:
    """A block for each replica as one distributed value."""
    flat = [tf.nest.flatten(block) for block in group]

    def part(number: int) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: flat[context.replica_id_in_sync_group][number]
        )

    return tf.nest.pack_sequence_as(group[0], [part(number) for number in range(len(flat[0]))])


def _outcomes(objective: Objective, labels: Any, outputs: Any) -> Outcomes:
    if objective.task == "regression":
        return Outcomes("regression", (), labels.astype(np.float64), outputs[:, 0].astype(np.float64))
    labels = labels.astype(np.int64)
    if objective.task == "binary":
        probability = np.asarray(objective.probabilities(outputs))
        positive = (probability >= objective.threshold).astype(np.int64)
        return Outcomes("binary", objective.classes, labels, positive, probability)
    probability = np.asarray(objective.probabilities(outputs))
    return Outcomes("multiclass", objective.classes, labels, outputs.argmax(axis=1).astype(np.int64), probability)
