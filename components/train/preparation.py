"""Training setup: chooses devices, builds the model, applies a warm start, and opens the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from headrace.components.train import weights
from headrace.components.train.config import TrainConfig
from headrace.components.train.devices import hardware, strategy
from headrace.components.train.devices.batch import Batch, batch_of
from headrace.components.train.devices.create import create, greatest_of
from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.devices.strategy import Strategy
from headrace.components.train.input import source as input_pipeline
from headrace.components.train.input.examples import Examples
from headrace.components.train.input.source import TrainingInput
from headrace.components.train.loop.session import TrainSession
from headrace.components.train.model import build as models
from headrace.components.train.model import export, precision, warm_start
from headrace.components.train.model.objective import Objective, objective_of
from headrace.components.train.model.scaled_numbers import stored_statistics
from headrace.components.train.model.trained_model import TrainedModel
from headrace.components.train.model.users.extreme_rows import extreme_rows
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Training
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress
from headrace.core.statistics.weighted import as_weighted

# Raw rows of the eval split for which the exported model must predict as the trained one; golden rows are among them.
_COMPARED_ROWS = 1024
# Next to the checkpoints.
_INPUT = "input.json"


@dataclass(frozen=True)
class TrainingSetup:
    """The parts of a training that is ready to start.

    Attributes:
        trainee: the session that the training loop drives.
        model: the model to train and export.
        objective: the meaning of its outputs.
        source: its input.
        machine: the hardware.
        strategy: the strategy chosen for the hardware.
        batch: rows per step, and the learning rate.
        compared: rows of the eval split as stored in Examples, by column name.
        scales: mean and standard deviation of the numeric columns, with which the model normalizes them.
        baseline: loss of a constant prediction on the eval split.
        class_weights: weight of a row of each class in the training loss; None for equal weights.
        warm_start: the weights that were carried over from an earlier Model or not; None without a warm start.
        rebuild: builds the same model again, outside the strategy.
    """

    trainee: TrainSession
    model: TrainedModel
    objective: Objective
    source: TrainingInput
    machine: Hardware
    strategy: Strategy
    batch: Batch
    compared: Mapping[str, Any]
    scales: Mapping[str, Mapping[str, float]]
    baseline: Mapping[str, Any]
    class_weights: Mapping[str, float] | None
    warm_start: Mapping[str, Any] | None
    rebuild: Callable[[], TrainedModel]

    def exported(self) -> TrainedModel:
        """The trained model for serving: on one device, in float32.

        The chief alone cannot write a model whose variables have copies on several devices: an equal model is built
        and receives the weights.
        """
        if self.strategy.name == "OneDevice" and self.strategy.precision == "float32":
            return self.model
        plain = self.rebuild()
        for variable, trained in zip(plain.core.variables, self.model.core.variables, strict=True):
            variable.assign(trained.value.numpy())
        return plain


def prepare(
    problem_file: ProblemFile,
    config: TrainConfig,
    training: Training,
    examples: Examples,
    report: Progress,
    *,
    kept: str = "",
) -> TrainingSetup:
    """Chooses the devices, builds the model and opens the Examples.

    Args:
        problem_file: the problem, and build_model if the file defines one.
        config: the configuration of the training.
        training: the problem's `training`, with overrides applied.
        examples: the Examples to train on.
        report: called with the progress.
        kept: the folder of the run's checkpoints, or ""; a resumed run reads its rows in the same order as before.

    Raises:
        UsageError: the machine does not support the options, the model reads strings on a device that does not
            support them, or the warm start does not match.
        DataError: a shard is damaged, or a split has no weight above 0.
        ProblemError: the user's model cannot be trained.
    """
    problem = problem_file.problem
    # First, because a cluster must be joined before TensorFlow computes anything.
    machine = hardware.describe()
    chosen = strategy.choose(machine, config.options.distribution)
    devices = create(chosen)
    start = warm_start.open_model(config.warm_start, problem) if config.warm_start else None
    scales = start.with_scales(examples.statistics) if start else examples.statistics
    statistics = stored_statistics(scales)
    stored = dataclasses.replace(problem_file, problem=problem.stored)
    objective = objective_of(problem, statistics)
    compared = input_pipeline.raw_rows(problem, examples.eval, _COMPARED_ROWS)
    report(f"building the model for {chosen.name}, {chosen.device}, in {chosen.precision}")
    batch = batch_of(training, devices.num_replicas_in_sync, examples.train.rows)
    carried = None

    def build() -> TrainedModel:
        sample = {name: tf.constant(values[:8]) for name, values in compared.items() if name != "key"}
        return models.build(stored, statistics, objective, training, sample)

    with devices.scope():
        model = build()
        objective = model.objective
        if problem_file.build_model is not None and chosen.chief:
            report("exporting the model as it begins, to find what an export would fail at")
            export.try_export(
                model, problem_file, extreme_rows(problem, stored_statistics(examples.statistics), compared)
            )
        _check_strings(problem_file, model, chosen)
        if start is not None:
            carried = warm_start.carry(
                start, model, problem, examples.statistics, is_default=problem_file.build_model is None
            )
        precision.lower(model.core, chosen.precision)
        own = model.core.optimizer if model.core.compiled else None
        optimizer = precision.scaled(own or keras.optimizers.Adam(batch.learning_rate), chosen.precision)
        optimizer.build(model.core.trainable_variables)
    report("reading the Examples")
    source = input_pipeline.open_source(
        problem,
        examples,
        model.prepare,
        batch_size=batch.rows,
        seed=training.seed,
        memory_bytes=machine.memory_bytes,
        wanted=config.options.input,
        order=_order_of_earlier(kept),
        workers=chosen.workers,
        agree=greatest_of(devices),
    )
    weights.check_sample_weights(problem, examples.statistics, source.eval_weights)
    of_classes = weights.class_weights(problem, training, examples.statistics)
    if kept and chosen.chief:
        storage.write_json(storage.join(kept, _INPUT), {"order": source.order})
    target = config.options.budget.target
    metrics = (config.options.budget.target_metric()[0],) if target else ()
    trainee = TrainSession(
        model.core,
        objective,
        optimizer,
        devices,
        source.batches,
        source.eval_blocks,
        chunks=source.chunks,
        metrics=metrics,
        chosen=chosen,
        class_weights=None if of_classes is None else tuple(of_classes.values()),
    )
    label = problem.label.name
    known = stored_statistics({**examples.statistics, label: as_weighted(examples.statistics[label])})
    return TrainingSetup(
        trainee=trainee,
        model=model,
        objective=objective,
        source=source,
        machine=machine,
        strategy=chosen,
        batch=batch if own is None else dataclasses.replace(batch, learning_rate=trainee.learning_rate),
        compared=compared,
        scales=warm_start.scales_of(scales),
        # The constant is of these rows, whatever the scale with which the model normalizes.
        baseline=objective_of(problem, known).baseline(source.eval_labels, source.eval_weights),
        class_weights=of_classes,
        warm_start=carried,
        rebuild=build,
    )


def _check_strings(problem_file: ProblemFile, model: TrainedModel, chosen: Strategy) -> None:
    """Refuses a model with string inputs if its step is compiled by XLA or runs on a TPU, which have no strings.

    For the default models, the input pipeline looks the strings up.
    """
    columns = problem_file.problem.columns
    strings = [column.name for column in columns if isinstance(column, Categorical) and column.name in model.inputs]
    if problem_file.build_model is not None and strings and (chosen.xla or chosen.name == "TPU"):
        raise UsageError(
            "the model reads strings, which XLA cannot compile",
            where="--xla" if chosen.xla else f"the TPU {chosen.tpu}",
            expected="a build_model of numbers alone, or a model that Training(model=...) names",
            received=f"{', '.join(strings)} in {problem_file.path}",
            fix="Train without --xla" if chosen.name != "TPU" else "Train on GPUs, or on the CPU",
        )


def _order_of_earlier(kept: str) -> Any:
    """The row order of the run that is resumed; None for a new run."""
    where = storage.join(kept, _INPUT)
    return storage.read_json(where)["order"] if kept and storage.exists(where) else None
