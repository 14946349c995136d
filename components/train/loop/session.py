"""Training session: a model, its optimizer and its input on some devices, for the training loop of any strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from headrace.components.train.devices.create import greatest_of
from headrace.components.train.devices.strategy import Strategy
from headrace.components.train.loop.evaluation import evaluator
from headrace.components.train.loop.step_function import compile_chunks, compile_steps, replica_step
from headrace.components.train.model import variables
from headrace.components.train.model.loss import Criterion
from headrace.components.train.model.objective import Objective

# (start step, worker, workers) -> an endless dataset of that worker's part of each batch, from that step on.
Batches = Callable[[int, int, int], Any]
# The start step -> the same for one worker, in chunks of several batches.
Chunks = Callable[[int], Any]


@dataclass(frozen=True)
class StepsTaken:
    """Result of a call of `run`.

    Attributes:
        steps: number of steps; fewer than requested if a loss was not finite.
        loss_sum: the sum over the steps of the mean loss, in the label's own unit (squared) or in nats.
        waited_seconds: time spent waiting for batches, in seconds.
    """

    steps: int
    loss_sum: float
    waited_seconds: float


class TrainSession:
    """A model, its optimizer and its input on the devices of a strategy.

    Args:
        core: a built Keras model, created in the strategy's scope; it is trained with its compiled options.
        objective: the Problem's objective, minimized unless the model was compiled with a loss.
        optimizer: built with the model's variables in the strategy's scope.
        strategy: a tf.distribute.Strategy.
        batches: the train split; `TrainingInput.batches`.
        eval_blocks: an iterable of `records.PreparedRows` over the eval split, the same in each process.
        chunks: the train split in chunks of batches, `TrainingInput.chunks`, with which one CPU trains faster; None to
            train on `batches`.
        metrics: names in METRICS, measured by `evaluate` in addition to the loss.
        chosen: the choice that `strategy` was made from; None for one process.
        class_weights: weight of a row of each class in training; None for equal weights.
    """

    def __init__(
        self,
        core: Any,
        objective: Objective,
        optimizer: Any,
        strategy: Any,
        batches: Batches,
        eval_blocks: Any,
        *,
        chunks: Chunks | None = None,
        metrics: Sequence[str] = (),
        chosen: Strategy | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        self.core, self.objective, self.optimizer, self.strategy = core, objective, optimizer, strategy
        self.metrics = tuple(metrics)
        self.chosen = chosen or Strategy("OneDevice", "", "CPU:0")
        self._batches = batches
        self._criterion = Criterion(core, objective, strategy.num_replicas_in_sync, class_weights)
        if core.compiled:
            self._build_metrics()
        self._variables = variables.named(core, optimizer)
        spread = strategy if strategy.num_replicas_in_sync > 1 else None
        self._evaluate = evaluator(
            core, objective, eval_blocks, criterion=self._criterion, strategy=spread, metrics=self.metrics
        )
        on_one_cpu = strategy.num_replicas_in_sync == 1 and self.chosen.device.startswith("CPU")
        self._chunks = chunks if on_one_cpu else None
        # The current chunk, and the position in it.
        self._chunk: Any = None
        self._place: Any = None
        self._run = self._compile()
        self._greatest = greatest_of(strategy)
        self._iterator: Any = None
        self._logs: dict[str, float] | None = None

    def feed(self, start_step: int = 0) -> None:
        """Sets the next step, which reads the batch of `start_step`.

        It traces, compiles and optimizes the graph, so that the time of `run` is only training.
        """
        self._iterator = self._open(start_step)
        self._run(self._iterator, 0)

    def run(self, count: int) -> StepsTaken:
        """Runs `count` steps; stops after the first one whose loss is not finite."""
        if self._iterator is None:
            self.feed()
        steps, losses, waited = self._run(self._iterator, count)
        return StepsTaken(steps, losses * self._criterion.scale, waited)

    def evaluate(self) -> dict[str, float]:
        """Measures the eval split: "loss" (the mean over its rows), `metrics`, and the metrics of compile().

        The loss is in the label's own unit (squared), in nats, or the loss of compile(). It is the same in all workers.
        """
        self._logs = self.logs()
        self._criterion.reset()
        return self._evaluate()

    def state(self, *, model_only: bool = False) -> variables.State:
        """All weights, seeds, optimizer variables and metrics by name; with `model_only` only the model's.

        With several workers all of them must call it.
        """
        return variables.read(self._chosen_variables(model_only))

    def restore(self, state: variables.State, *, model_only: bool = False) -> None:
        """Restores the result of `state`. The position of the input does not change; see `feed`.

        Raises:
            DataError: the state belongs to another model or optimizer.
        """
        variables.write(self._chosen_variables(model_only), state)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the optimizer's next step; the present value of a schedule."""
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer.learning_rate = value

    @property
    def chief(self) -> bool:
        """Whether this process writes checkpoints and the Model; every other one writes nothing."""
        return self.chosen.chief

    def agree(self, value: float) -> float:
        """The maximum of the workers' values, the same in all workers: for values that depend on a clock or a signal.

        Every worker must call it at the same place; it waits for the others.
        """
        return self._greatest(value)

    def reset_logs(self) -> None:
        """Begins an epoch: resets the metrics of compile()."""
        self._logs = None
        self._criterion.reset()

    def logs(self) -> dict[str, float]:
        """The metrics of compile() on the train split since `reset_logs`, by Keras' names; empty without compile()."""
        return self._criterion.results() if self._logs is None else self._logs

    def _compile(self) -> Callable[[Any, int], tuple[int, float, float]]:
        replicas = self.strategy.num_replicas_in_sync
        step = replica_step(self.core, self._criterion, self.optimizer, replicas=replicas, xla=self.chosen.xla)
        if self._chunks is None:
            return compile_steps(step, self.strategy)
        compiled = compile_chunks(step, self.strategy)

        def run(iterator: Any, count: int) -> tuple[int, float, float]:
            steps, losses, waited, self._chunk, self._place = compiled(iterator, self._chunk, self._place, count)
            return steps, losses, waited

        return run

    def _open(self, start_step: int) -> Any:
        if self._chunks is not None:
            chunks = self._chunks(start_step)
            # A placeholder of the current chunk: it is not read, because the position is after its last batch.
            self._chunk = tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), chunks.element_spec)
            self._place = tf.constant(tf.nest.flatten(self._chunk)[0].shape[0])
            return iter(chunks)
        if self.strategy.num_replicas_in_sync == 1:
            return iter(self._batches(start_step, 0, 1))

        def worker_batches(context: Any) -> Any:
            workers = context.num_input_pipelines
            batches = self._batches(start_step, context.input_pipeline_id, workers)
            rows = tf.nest.flatten(batches.element_spec)[0].shape[0]
            # The replicas of a worker process the parts of its batch in order.
            local = context.num_replicas_in_sync // workers
            return batches.rebatch(rows // local, drop_remainder=True).prefetch(2 * local) if local > 1 else batches

        return iter(self.strategy.distribute_datasets_from_function(worker_batches))

    def _build_metrics(self) -> None:
        """Creates the variables of compile()'s metrics, which Keras creates at the first batch."""
        spec = self._batches(0, 0, 1).element_spec
        with self.strategy.scope():
            features, labels, *weights = tf.nest.map_structure(lambda s: tf.zeros([1, *s.shape[1:]], s.dtype), spec)
            labels = labels[:, None] if self.objective.units == 1 else labels
            self.core._symbolic_build(data_batch=(features, labels, *weights))

    def _chosen_variables(self, model_only: bool) -> dict[str, Any]:
        return {n: v for n, v in self._variables.items() if not model_only or n.startswith(variables.MODEL)}
