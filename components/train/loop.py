"""The training loop: several steps a call of one compiled function, early stopping, the best weights kept.

It is written against tf.distribute.Strategy and a Keras 3 optimizer, not against `fit`, which fails under
multi-worker and parameter-server strategies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from headrace.components.errors import ProblemError
from headrace.components.problem import Training
from headrace.components.progress import Progress
from headrace.components.train.objective import Objective

# A call this long at most, so that progress shows and a loss that is not finite is found soon.
_STEPS_A_CALL = 1000


@dataclass
class Fitted:
    """What came of the loop; `core` holds the best weights.

    Attributes:
        history: a number an epoch: "loss" (mean over its steps), "eval_loss" (after it), "steps" (in all so far).
        best_epoch: from 1.
        stopped: why it ended.
        train_seconds: of the steps themselves.
        input_seconds: of those, spent waiting for a batch.
    """

    history: dict[str, list[Any]] = field(default_factory=lambda: {"loss": [], "eval_loss": [], "steps": []})
    best_epoch: int = 0
    stopped: str = ""
    train_seconds: float = 0.0
    input_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Steps taken."""
        return int(self.history["steps"][-1]) if self.history["steps"] else 0


def epoch_ends(rows: int, batch_size: int, epochs: int, steps: int | None) -> Iterator[int]:
    """The step after which each epoch ends: the first at which every row was seen so many times.

    Args:
        rows: of the train split.
        batch_size: rows a step, `rows` at most.
        epochs: how many, unless `steps` is given.
        steps: where the last one ends, be it in the middle of an epoch.
    """
    epoch = 1
    while True:
        end = math.ceil(epoch * rows / batch_size)
        if steps is not None and end >= steps:
            yield steps
            return
        yield end
        if steps is None and epoch == epochs:
            return
        epoch += 1


def fit(
    core: Any,
    objective: Objective,
    strategy: Any,
    batches: Any,
    evaluate: Callable[[], float],
    *,
    rows: int,
    batch_size: int,
    training: Training,
    report: Progress,
) -> Fitted:
    """Trains `core` with Adam until the eval loss stops improving, or the epochs or steps are used up.

    Args:
        core: a built Keras model, created in the strategy's scope.
        objective: what to lower.
        strategy: a tf.distribute.Strategy.
        batches: an endless dataset of (features, labels), of `batch_size` rows over all replicas.
        evaluate: the mean loss over the eval split with the weights that `core` has.
        rows: of the train split: an epoch is one pass over them.
        batch_size: rows a step.
        training: epochs, steps, learning_rate and patience.
        report: told of each epoch.

    Raises:
        ProblemError: the loss is not finite.
    """
    with strategy.scope():
        optimizer = keras.optimizers.Adam(training.learning_rate)
        optimizer.build(core.trainable_variables)
    run = _compile(core, objective, strategy, optimizer, iter(strategy.experimental_distribute_dataset(batches)))
    # No steps: traces, compiles and optimizes the graph, so that the times below are of training alone.
    run(0)
    fitted, best_loss, step = Fitted(), math.inf, 0
    best_weights: list[Any] = []
    total = training.steps or math.ceil(training.epochs * rows / batch_size)
    for epoch, end in enumerate(epoch_ends(rows, batch_size, training.epochs, training.steps), start=1):
        begin, losses = step, 0.0
        while step < end:
            count = min(_STEPS_A_CALL, end - step)
            started = time.perf_counter()
            done, loss, waited = run(count)
            fitted.train_seconds += time.perf_counter() - started
            fitted.input_seconds += waited
            if not math.isfinite(loss):
                raise _not_finite("the loss", step + done, training.learning_rate)
            losses += loss
            step += count
            if step < end:
                report(f"epoch {epoch}: step {step}", done=step, total=total)
        epoch_loss, eval_loss = losses / (end - begin) * objective.loss_scale, evaluate()
        if not math.isfinite(eval_loss):
            raise _not_finite("the loss on the eval split", step, training.learning_rate)
        for name, value in (("loss", epoch_loss), ("eval_loss", eval_loss), ("steps", step)):
            fitted.history[name].append(value)
        report(f"epoch {epoch}: loss {epoch_loss:.4g}, eval loss {eval_loss:.4g}", done=step, total=total)
        if eval_loss < best_loss:
            best_loss, fitted.best_epoch = eval_loss, epoch
            best_weights = [weight.value.numpy() for weight in core.weights]
        elif epoch - fitted.best_epoch >= training.patience and step < total:
            fitted.stopped = (
                f"early stopping: {training.patience} epochs without a better eval loss than {best_loss:.4g} "
                f"of epoch {fitted.best_epoch}"
            )
            break
    else:
        fitted.stopped = f"steps: all {step} taken" if training.steps else f"epochs: all {training.epochs} done"
    for weight, value in zip(core.weights, best_weights, strict=True):
        weight.assign(value)
    return fitted


def _compile(
    core: Any, objective: Objective, strategy: Any, optimizer: Any, iterator: Any
) -> Callable[[int], tuple[int, float, float]]:
    """A function that takes so many steps, and gives the steps taken, the sum of losses, the seconds of waiting.

    It stops after the first step whose loss is not finite.
    """
    variables = core.trainable_variables

    def replica_step(features: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective.loss(labels, core(features, training=True)))
            total = tf.add_n([loss, *core.losses])
        gradients = tape.gradient(total, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return total

    def step(done: Any, losses: Any, waited: Any) -> tuple[Any, Any, Any]:
        begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            features, labels = next(iterator)
        with tf.control_dependencies(tf.nest.flatten((features, labels))):
            end = tf.timestamp()
        per_replica = strategy.run(replica_step, args=(features, labels))
        loss = strategy.reduce(tf.distribute.ReduceOp.MEAN, per_replica, axis=None)
        return done + 1, losses + tf.cast(loss, tf.float64), waited + (end - begin)

    # Without autograph: the loop is written as one, and converting Keras' code takes longer than tracing it.
    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    def run(count: Any) -> Any:
        zero = tf.constant(0.0, tf.float64)
        return tf.while_loop(
            lambda done, losses, _: tf.logical_and(done < count, tf.math.is_finite(losses)),
            step,
            [tf.constant(0), zero, zero],
            parallel_iterations=1,
        )

    def call(count: int) -> tuple[int, float, float]:
        done, losses, waited = run(tf.constant(count))
        return int(done), float(losses), float(waited)

    return call


def evaluator(core: Any, objective: Objective, blocks: Any) -> Callable[[], float]:
    """A function that gives the mean loss over the rows of `blocks`, an iterable of (features, labels)."""

    @tf.function(autograph=False, reduce_retracing=True)
    def block_loss(features: Any, labels: Any) -> Any:
        return tf.reduce_sum(tf.cast(objective.loss(labels, core(features, training=False)), tf.float64))

    def evaluate() -> float:
        losses, rows = 0.0, 0
        for features, labels in blocks:
            losses += float(block_loss(features, labels))
            rows += int(labels.shape[0])
        return losses / rows * objective.loss_scale

    return evaluate


def _not_finite(what: str, step: int, learning_rate: float) -> ProblemError:
    return ProblemError(
        f"{what} is not finite",
        where=f"step {step}",
        expected="a number",
        received=f"NaN or infinity, at learning rate {learning_rate:g}",
        fix="Lower Training(learning_rate=...), and look for extreme values in statistics.json",
    )
