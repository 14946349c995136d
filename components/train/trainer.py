"""Trains the model of a problem on an Examples artifact, and publishes it as a Model artifact."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from headrace.components import storage
from headrace.components.errors import PlatformError
from headrace.components.problem import Training
from headrace.components.problem_file import ProblemFile
from headrace.components.progress import Progress, silent
from headrace.components.train import export, hardware, input_pipeline, loop, strategy
from headrace.components.train import model as models
from headrace.components.train.config import TrainConfig, TrainResult
from headrace.components.train.examples import Examples, open_examples
from headrace.components.train.objective import objective_of

__all__ = ["TrainConfig", "TrainResult", "train"]

# Raw rows of the eval split that the exported model must answer as the trained one does; the golden ones are of these.
_COMPARED_ROWS = 1024


def train(problem_file: ProblemFile, config: TrainConfig, report: Progress = silent) -> TrainResult:
    """Trains, and publishes the Model at `config.output`, whole or not at all.

    The same Examples, problem and seed give the same weights on the same hardware.

    Args:
        problem_file: the problem, and the user's build_model if there is one.
        config: where to read and write, and what to change of the problem's `training`.
        report: told of each epoch.

    Raises:
        UsageError: there are no Examples, or the output cannot be written.
        DataError: the Examples are damaged, empty, or of another problem.
        ProblemError: the user's model cannot be trained, or the loss is not finite.
        PlatformError: the exported model does not answer as the trained one does.
    """
    if keras.backend.backend() != "tensorflow":
        raise PlatformError(
            "Keras does not run on TensorFlow",
            expected='KERAS_BACKEND=tensorflow, or "backend": "tensorflow" in ~/.keras/keras.json',
            received=keras.backend.backend(),
        )
    training = config.apply_to(problem_file.problem.training)
    examples = open_examples(config.examples, problem_file.problem)
    with storage.publishing(config.output) as folder:
        return _train(problem_file, config, training, examples, folder, report)


def _train(
    problem_file: ProblemFile,
    config: TrainConfig,
    training: Training,
    examples: Examples,
    folder: Path,
    report: Progress,
) -> TrainResult:
    problem = problem_file.problem
    machine = hardware.describe()
    chosen = strategy.choose(machine)
    distribution = chosen.create()
    objective = objective_of(problem, examples.statistics)
    compared = input_pipeline.raw_rows(problem, examples.eval, _COMPARED_ROWS)
    report(f"building the model for {chosen.device}")
    with distribution.scope():
        sample = {name: tf.constant(values[:8]) for name, values in compared.items() if name != "key"}
        model = models.build(problem_file, examples.statistics, objective, training, sample)

    report("reading the Examples")
    # Fewer rows than a batch would make a batch of repeated ones.
    batch_size = min(training.batch_size, examples.train.rows)
    source = input_pipeline.open_source(
        problem, examples, model.prepare, batch_size=batch_size, seed=training.seed, memory_bytes=machine.memory_bytes
    )
    evaluate = loop.evaluator(model.core, objective, source.eval_blocks)
    fitted = loop.fit(
        model.core,
        objective,
        distribution,
        source.batches,
        evaluate,
        rows=examples.train.rows,
        batch_size=batch_size,
        training=training,
        report=report,
    )

    report("exporting the model")
    export.export(folder, model, problem_file, objective, config.examples, compared)
    best = fitted.best_epoch - 1
    result = TrainResult(
        model_version=config.identity,
        epochs=len(fitted.history["loss"]),
        steps=fitted.steps,
        best_epoch=fitted.best_epoch,
        loss=fitted.history["loss"][best],
        eval_loss=fitted.history["eval_loss"][best],
        rows_per_second=round(fitted.steps * batch_size / fitted.train_seconds, 1),
        parameters=model.parameters,
        stopped=fitted.stopped,
    )
    storage.write_json(
        str(folder / "training.json"),
        {
            "format": 1,
            "model_version": config.identity,
            "examples_identity": examples.identity,
            "problem": problem.name,
            "task": problem.task,
            "model": "wide and deep" if problem_file.build_model is None else "build_model",
            "loss": objective.loss_name,
            "history": fitted.history,
            "epochs": result.epochs,
            "steps": result.steps,
            "best_epoch": result.best_epoch,
            "stopped": result.stopped,
            "hardware": machine.to_json(),
            "strategy": chosen.to_json(),
            "input": {"cached": source.cached, "shuffle": source.shuffle},
            "rows_per_second": result.rows_per_second,
            "input_share": round(fitted.input_seconds / fitted.train_seconds, 4),
            "seed": training.seed,
            "parameters": result.parameters,
            "batch_size": batch_size,
            "learning_rate": training.learning_rate,
            "baseline": objective.baseline(source.eval_labels),
        },
    )
    return result
