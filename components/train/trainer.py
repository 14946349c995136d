"""Trainer: trains the model of a problem on an Examples artifact, and publishes it as a Model artifact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import keras

from headrace.components.train import training_record
from headrace.components.train.classes import absent_classes
from headrace.components.train.config import TrainConfig, TrainResult
from headrace.components.train.input.examples import blaming_shards, open_examples
from headrace.components.train.loop import interruption, loop, trackers
from headrace.components.train.loop.budget import Meter
from headrace.components.train.loop.callbacks import hooks_of
from headrace.components.train.loop.checkpoints import Checkpoints
from headrace.components.train.loop.diagnosis import Diagnosis
from headrace.components.train.loop.hooks import AfterEpoch, Hooks
from headrace.components.train.model import export
from headrace.components.train.preparation import prepare
from headrace.core import storage
from headrace.core.artifacts.kinds import MODEL
from headrace.core.errors import PlatformError
from headrace.core.problem.file import PREPARED_NOTE, ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.storage.output import check_writable, publishing

__all__ = ["TrainConfig", "TrainResult", "train"]


def train(
    problem_file: ProblemFile,
    config: TrainConfig,
    report: Progress = silent,
    *,
    after_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Trains a model, and publishes the Model at `config.output` atomically.

    The same Examples, problem and seed give the same weights on the same hardware. An interrupted run resumes from its
    newest checkpoint; all checkpoints are removed when the Model is published.

    Args:
        problem_file: the problem, and build_model if the file defines one.
        config: input, output and options, and overrides of the problem's `training`.
        report: called with the progress.
        after_epoch: called after each epoch (from 1) with the metrics, including "val_loss"; an exception from it ends
            the training.

    Raises:
        UsageError: the Examples are missing, the output is not writable, the warm start does not match, or requested
            TensorBoard logs cannot be written.
        DataError: the Examples are damaged, empty, or of another problem.
        ProblemError: the user's model cannot be trained, or the loss is not finite.
        PlatformError: SIGTERM arrived and the state is saved, or the exported model predicts other values than the
            trained one.
    """
    if keras.backend.backend() != "tensorflow":
        raise PlatformError(
            "Keras does not run on TensorFlow",
            expected='KERAS_BACKEND=tensorflow, or "backend": "tensorflow" in ~/.keras/keras.json',
            received=keras.backend.backend(),
        )
    config.check_output(problem_file.path)
    meter = Meter(config.options.budget)
    training = config.apply_to(problem_file.problem.training)
    examples = open_examples(config.examples, problem_file.problem)
    problem_file = dataclasses.replace(problem_file, problem=problem_file.problem.measured(examples.statistics))
    check_writable(config.output)
    trackers.check(config)
    notes: list[str] = []

    def tell(text: str) -> None:
        notes.append(text)
        report(text, lasting=True)

    with interruption.watching() as signals, blaming_shards(examples):
        checkpoints = _checkpoints(config, tell)
        kept = checkpoints.folder if checkpoints else ""
        prepared = prepare(problem_file, config, training, examples, report, kept=kept)
        source = prepared.source
        if problem_file.problem.reads:
            tell(f"the Model expects rows that prepare of the Problem file returns: {PREPARED_NOTE}")
        for warning in absent_classes(problem_file.problem, examples.statistics, source.eval_labels):
            notes.append(warning)
            report(warning, lasting=True)
        report("training")
        diagnosis = Diagnosis(problem_file.problem, examples.statistics, prepared.trainee, source.batches, checkpoints)
        core, optimizer = prepared.model.core, prepared.trainee.optimizer
        hooks = hooks_of(problem_file, core, optimizer, epochs=training.epochs)
        if after_epoch:
            hooks = AfterEpoch(hooks, after_epoch)
        tracked: AbstractContextManager[Hooks] = nullcontext(hooks)
        if prepared.trainee.chief:
            name = problem_file.problem.name
            tracked = trackers.tracking(config, hooks, core, optimizer, problem=name, epochs=training.epochs, tell=tell)
        with tracked as hooks:
            state = loop.fit(
                prepared.trainee,
                training,
                rows=examples.train.rows,
                batch_size=prepared.batch.rows,
                report=report,
                checkpoints=checkpoints,
                meter=meter,
                signals=signals,
                hooks=hooks,
                explain=diagnosis.explain,
            )
        state.notes[:0] = notes
        record = training_record.describe(prepared, problem_file, config, training, examples, state, meter)
        if prepared.trainee.chief:
            report("exporting the model")
            model, rows = prepared.exported(), prepared.compared
            with publishing(config.output, MODEL) as folder:
                export.export(folder, model, problem_file, config.examples, rows)
                record["files"] = list(storage.files_below(str(folder)))
                storage.write_json(str(folder / "training.json"), record)
            if checkpoints is not None:
                checkpoints.remove()
        # The other workers wait for the chief: a platform may end the run when the first process ends.
        prepared.trainee.agree(0.0)
    return TrainResult.of(record)


def _checkpoints(config: TrainConfig, tell: Callable[[str], None]) -> Checkpoints | None:
    """The run's checkpoints, which report by `tell`; None without a folder."""
    if not config.options.checkpointing.folder:
        return None
    checkpoints = Checkpoints(config.options.checkpointing, config.run_identity, tell=tell)
    checkpoints.open()
    return checkpoints
