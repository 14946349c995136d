"""Evaluation during training: measures a model on the eval split, on all replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.loss import Criterion
from headrace.components.train.model.objective import Objective
from headrace.core.metrics import Outcomes, measure
from headrace.core.values.scaling import unscaled


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

    It returns "loss", the mean over the rows in the label's own unit, and `metrics`, computed from the outputs of all
    rows as by `headrace evaluate`. Sample weights multiply a row's loss (see `Criterion`), and weight the metrics;
    class weights do neither, as in Keras.

    Args:
        core: a built Keras model.
        objective: the Problem's objective.
        blocks: an iterable of `records.PreparedRows`, the same at each pass and in each process.
        criterion: the loss; None for the objective's.
        strategy: the tf.distribute.Strategy whose replicas process the blocks in turn; None for one device.
        metrics: names among METRICS.
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    criterion = criterion or Criterion(core, objective, replicas)

    def block_loss(features: Any, labels: Any, weights: Any = None, filled: Any = None) -> tuple[Any, Any]:
        outputs = core(features, training=False)
        criterion.update_metrics(features, labels, outputs, weights, filled)
        return criterion.sum_over_rows(features, labels, outputs, weights, filled), tf.cast(outputs, tf.float32)

    on_one = tf.function(block_loss, autograph=False, reduce_retracing=True)

    # Shapes are equal in every call: each replica's block is padded to the first one's number of rows.
    @tf.function(autograph=False)
    def on_all(filled: Any, *rows: Any) -> tuple[Any, Any]:
        losses, outputs = strategy.run(block_loss, args=rows, kwargs={"filled": filled})
        summed = strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return summed, strategy.gather(outputs, axis=0) if metrics else tf.zeros([0])

    def measured() -> Iterator[tuple[Any, Any, Sequence[Any]]]:
        if replicas == 1:
            for rows in blocks:
                losses, outputs = on_one(*rows)
                yield losses, outputs, rows[1:]
            return
        for group, targets, kept in _groups(blocks, replicas):
            losses, outputs = on_all(*_distribute(strategy, group))
            yield losses, tf.boolean_mask(outputs, kept) if metrics else outputs, targets

    def evaluate() -> dict[str, float]:
        total = np.zeros(2)
        gathered: list[tuple[Any, ...]] = []
        for losses, outputs, targets in measured():
            total += losses.numpy()
            if metrics:
                gathered.append(tuple(map(np.asarray, (outputs, *targets))))
        found = {"loss": float(total[0] / total[1]) * criterion.scale, **criterion.results()}
        if metrics:
            everything = measure(_outcomes(objective, *map(np.concatenate, zip(*gathered, strict=True))))
            for name in metrics:
                value = everything[name]
                found[name] = float("nan") if value is None else value
        return found

    return evaluate


def _groups(blocks: Any, replicas: int) -> Iterator[tuple[list[Any], list[Any], Any]]:
    """Yields (blocks, targets, kept) for each group of blocks, one per replica, padded to an equal number of rows.

    A block starts with `filled` of `Criterion.sum_over_rows`. The targets are the labels and weights of the rows
    without padding; `kept` is True at their positions.
    """
    iterator, size = iter(blocks), 0
    while group := list(islice(iterator, replicas)):
        size = size or int(group[0][1].shape[0])
        counts = [int(rows[1].shape[0]) for rows in group] + [0] * (replicas - len(group))
        group += [group[0]] * (replicas - len(group))
        filled = []
        for rows, count in zip(group, counts, strict=True):
            # A copy of a row pads the block: a model may not accept zeros.
            chosen = np.minimum(np.arange(size), max(count - 1, 0))
            counting = tf.constant(np.arange(size) < count, tf.float32)
            filled.append((counting, *tf.nest.map_structure(lambda c, i=chosen: tf.gather(c, i), tuple(rows))))
        kept = np.concatenate([np.arange(size) < count for count in counts])
        columns = zip(*(rows[1:] for rows in group), strict=True)
        targets = [tf.concat([c[:count] for c, count in zip(column, counts, strict=True)], 0) for column in columns]
        yield filled, targets, kept


def _distribute(strategy: Any, group: list[Any]) -> Any:
    """A block for each replica as one distributed value."""
    flat = [tf.nest.flatten(block) for block in group]

    def part(number: int) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: flat[context.replica_id_in_sync_group][number]
        )

    return tf.nest.pack_sequence_as(group[0], [part(number) for number in range(len(flat[0]))])


def _outcomes(objective: Objective, outputs: Any, labels: Any, weights: Any = None) -> Outcomes:
    if objective.task == "regression":
        label, prediction, probability = labels.astype(np.float64), outputs[:, 0].astype(np.float64), None
        if objective.exponent:
            label, prediction = unscaled(label, objective.exponent), unscaled(prediction, objective.exponent)
    else:
        label, probability = labels.astype(np.int64), np.asarray(objective.probabilities(outputs))
        binary = objective.task == "binary"
        prediction = (probability >= objective.threshold if binary else outputs.argmax(axis=1)).astype(np.int64)
    weight = None if weights is None else weights.astype(np.float64)
    return Outcomes(objective.task, objective.classes, label, prediction, probability, weight)
