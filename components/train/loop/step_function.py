"""Step function: several training steps in one call of a compiled function, on one device or on replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from headrace.components.train.model.loss import Criterion
from headrace.core.errors import PlatformError

_SUM = tf.distribute.ReduceOp.SUM


def replica_step(core: Any, criterion: Criterion, optimizer: Any, *, replicas: int = 1, xla: bool = False) -> Any:
    """The function that runs one step with a replica's `PreparedRows`, and returns the loss over all replicas.

    Gradients are summed over the replicas before the optimizer gets them: it then clips and checks for infinities as
    on one device. All sums are in one message, because on a network a message costs more than its content; sparse
    gradients of table rows are sent separately.

    Args:
        core: a built Keras model.
        criterion: the criterion to minimize.
        optimizer: built with the model's variables.
        replicas: number of replicas.
        xla: whether to compile it; with several replicas, only the forward and backward passes, because XLA cannot
            compile the exchange.
    """
    variables = core.trainable_variables
    averages = [v for v in core.non_trainable_variables if v.name.startswith("moving_")] if replicas > 1 else []
    if replicas > 1:
        _leave_sums_to_us(optimizer)

    def gradients_of(features: Any, labels: Any, weights: Any = None) -> tuple[Any, Any]:
        weights = criterion.row_weights(labels, weights)
        with tf.GradientTape() as tape:
            outputs = core(features, training=True)
            loss = criterion.loss(features, labels, outputs, weights)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        criterion.update_metrics(features, labels, outputs, weights)
        return loss, gradients

    if xla and replicas > 1:
        gradients_of = tf.function(gradients_of, autograph=False, jit_compile=True)

    def step(features: Any, labels: Any, weights: Any = None) -> Any:
        loss, gradients = gradients_of(features, labels, weights)
        if replicas > 1:
            # Batch normalization's averages are of each replica's rows; their mean is the average on one device.
            shares = [variable.value / replicas for variable in averages]
            loss, *summed = _summed([loss, *gradients, *shares])
            gradients = summed[: len(gradients)]
            for variable, value in zip(averages, summed[len(gradients) :], strict=True):
                variable.assign(value)
        optimizer.apply(gradients, variables)
        return loss

    return tf.function(step, autograph=False, jit_compile=True) if xla and replicas == 1 else step


def compile_steps(step: Any, strategy: Any) -> Callable[[Any, int], tuple[int, float, float]]:
    """A function that runs a number of steps, and returns the number run, the sum of losses, and the seconds waited.

    It stops after the first step whose loss is not finite.

    Args:
        step: see `replica_step`.
        strategy: a tf.distribute.Strategy.

    Returns:
        (an iterator over batches, the count) -> steps, losses, seconds.
    """

    # Without autograph: the loop is written as one, and converting Keras' code takes longer than tracing it.
    @tf.function(autograph=False)
    def run(iterator: Any, count: Any) -> Any:
        def one(done: Any, losses: Any, waited: Any) -> tuple[Any, Any, Any]:
            begin = tf.timestamp()
            with tf.control_dependencies([begin]):
                rows = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(rows, expand_composites=True)):
                end = tf.timestamp()
            per_replica = strategy.run(step, args=rows)
            # Each replica has the sum over all replicas.
            loss = strategy.experimental_local_results(per_replica)[0]
            return done + 1, losses + tf.cast(loss, tf.float64), waited + (end - begin)

        zero = tf.constant(0.0, tf.float64)
        return tf.while_loop(
            lambda done, losses, _: tf.logical_and(done < count, tf.math.is_finite(losses)),
            one,
            [tf.constant(0), zero, zero],
            parallel_iterations=1,
        )

    def call(iterator: Any, count: int) -> tuple[int, float, float]:
        done, losses, waited = run(iterator, tf.constant(count))
        return int(done), float(losses), float(waited)

    return call


def compile_chunks(step: Any, strategy: Any) -> Callable[[Any, Any, Any, int], tuple[int, float, float, Any, Any]]:
    """The same on one device, for an iterator over chunks: requesting a batch takes as long as a small step.

    Args:
        step: see `replica_step`.
        strategy: a tf.distribute.Strategy of one replica.

    Returns:
        (iterator, the current chunk, the position in it, the count) -> steps, losses, seconds, chunk, position. A chunk
        is `PreparedRows` of [batches, rows, ...] each; at the position after its last batch, the next chunk is
        requested from the iterator.
    """

    # Without autograph: as in `compile_steps`.
    @tf.function(autograph=False)
    def run(iterator: Any, chunk: Any, place: Any, count: Any) -> Any:
        begun = tf.nest.flatten(chunk)
        batches = begun[0].shape[0]
        zero = tf.constant(0.0, tf.float64)

        def may_go_on(done: Any, losses: Any) -> Any:
            return tf.logical_and(done < count, tf.math.is_finite(losses))

        def through_chunk(done: Any, losses: Any, waited: Any, place: Any, *held: Any) -> tuple[Any, ...]:
            def read() -> list[Any]:
                begin = tf.timestamp()
                with tf.control_dependencies([begin]):
                    rows = tf.nest.flatten(next(iterator))
                with tf.control_dependencies(rows):
                    return [tf.constant(0), tf.timestamp() - begin, *rows]

            place, seconds, *held_now = tf.cond(place < batches, lambda: [place, zero, *held], read)

            def one(done: Any, losses: Any, place: Any) -> tuple[Any, Any, Any]:
                rows = tf.nest.pack_sequence_as(chunk, [part[place] for part in held_now])
                loss = strategy.experimental_local_results(strategy.run(step, args=rows))[0]
                return done + 1, losses + tf.cast(loss, tf.float64), place + 1

            done, losses, place = tf.while_loop(
                lambda done, losses, place: tf.logical_and(may_go_on(done, losses), place < batches),
                one,
                [done, losses, place],
                parallel_iterations=1,
            )
            return done, losses, waited + seconds, place, *held_now

        done, losses, waited, place, *held = tf.while_loop(
            lambda done, losses, *_: may_go_on(done, losses),
            through_chunk,
            [tf.constant(0), zero, zero, place, *begun],
            parallel_iterations=1,
        )
        return done, losses, waited, place, tf.nest.pack_sequence_as(chunk, held)

    def call(iterator: Any, chunk: Any, place: Any, count: int) -> tuple[int, float, float, Any, Any]:
        done, losses, waited, place, chunk = run(iterator, chunk, place, tf.constant(count))
        return int(done), float(losses), float(waited), chunk, place

    return call


def _summed(values: list[Any]) -> list[Any]:
    """The sums over all replicas, in a replica's context; None stays None."""
    context = tf.distribute.get_replica_context()
    dense = [n for n, value in enumerate(values) if tf.is_tensor(value) and value.dtype == tf.float32]
    dense = [n for n in dense if not isinstance(values[n], tf.IndexedSlices) and values[n].shape.is_fully_defined()]
    apart = [n for n, value in enumerate(values) if value is not None and n not in dense]
    joined = context.all_reduce(_SUM, tf.concat([tf.reshape(values[n], [-1]) for n in dense], axis=0))
    sizes = [values[n].shape.num_elements() for n in dense]
    result: list[Any] = [None] * len(values)
    for n, part in zip(dense, tf.split(joined, sizes), strict=True):
        result[n] = tf.reshape(part, values[n].shape)
    if apart:
        for n, value in zip(apart, context.all_reduce(_SUM, [values[n] for n in apart]), strict=True):
            result[n] = value
    return result


def _leave_sums_to_us(optimizer: Any) -> None:
    """Prevents a Keras optimizer from summing gradients over the replicas a second time."""
    innermost = getattr(optimizer, "inner_optimizer", optimizer)
    if not callable(getattr(innermost, "_all_reduce_sum_gradients", None)):
        raise PlatformError(
            "this version of Keras sums gradients in an unknown way",
            where=type(innermost).__name__,
            expected="an optimizer of Keras 3 on TensorFlow",
            fix="Install the versions of constraints.txt",
        )
    innermost._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
