"""Trial: a training with given parameters, which reports its eval loss after each epoch and may be pruned by it.

It is the same for a search on this machine and for a service that chooses parameters and judges the loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.components.train.request import TrainingRequest
from headrace.core.errors import ProblemError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning, split_parameters
from headrace.core.progress import Progress
from headrace.core.steps import identity as lineage

# Fields of Training that a build_model of the user does not receive.
_OF_THE_DEFAULT_MODEL = frozenset({"model", "hidden_units", "cross_layers", "dropout"})


class TrialPruned(Exception):
    """The trial is pruned: others were better at the same epoch."""


@dataclass(frozen=True)
class TrialConfig:
    """Options of a trial.

    Args:
        parameters: by name, as in `Tuning.space`.
        examples: the Examples artifact.
        output: where its Model is published.
        checkpoints: folder of its checkpoints.
        request: the options of the training.
    """

    parameters: Mapping[str, Any]
    examples: str
    output: str
    checkpoints: str
    request: TrainingRequest


def run(file: ProblemFile, config: TrialConfig, report: Progress, judge: Callable[[int, float], bool]) -> TrainResult:
    """Trains with the parameters.

    Args:
        file: the Problem file.
        config: of the trial.
        report: receives progress.
        judge: called after each epoch (from 1) with the eval loss; returns whether to continue.

    Raises:
        TrialPruned: `judge` returned False.
        HeadraceError: as `train` does.
    """
    from headrace.components.train import trainer

    made_from = lineage.examples_identity_of(config.examples)
    # Equal parameters of an equal problem produce an equal Model, whoever chose them.
    identity = config.request.identity(file, made_from, config.parameters)
    train_config = config.request.config(
        file, examples=config.examples, output=config.output, checkpoints=config.checkpoints, identity=identity
    )

    def after_epoch(epoch: int, measured: Mapping[str, float]) -> None:
        if not judge(epoch, float(measured["val_loss"])):
            raise TrialPruned

    return trainer.train(with_parameters(file, config.parameters), train_config, report, after_epoch=after_epoch)


def with_parameters(file: ProblemFile, parameters: Mapping[str, Any]) -> ProblemFile:
    """The problem with its own parameters replaced by `parameters`.

    Raises:
        ProblemError: Training refuses a value.
    """
    training, hyperparameters = split_parameters(parameters)
    problem = dataclasses.replace(
        file.problem,
        training=dataclasses.replace(file.problem.training, **training),
        hyperparameters={**file.problem.hyperparameters, **hyperparameters},
    )
    return dataclasses.replace(file, problem=problem)


def tuning_of(file: ProblemFile, request: TrainingRequest | None = None) -> Tuning:
    """The problem's `tuning`, checked: the model must read each parameter.

    Args:
        file: the Problem file.
        request: the options of each trial, which may not set a parameter of the search.

    Raises:
        UsageError: an option and the search set the same parameter.
        ProblemError: the Problem has nothing to tune, or nothing reads a parameter.
    """
    tuning = file.problem.tuning
    if tuning is None:
        raise ProblemError(
            "the Problem has nothing to tune",
            where=file.path,
            expected='Problem(..., tuning=Tuning(space={"learning_rate": Range(1e-4, 1e-1, log=True)}))',
            received="a Problem without tuning",
        )
    for name in tuning.space:
        if file.build_model is not None and name in _OF_THE_DEFAULT_MODEL:
            raise ProblemError(
                f'build_model does not receive "{name}"',
                where=f"{file.path}, Problem.tuning",
                expected=f'"hyperparameters.{name}", which build_model receives',
                received=f'"{name}", which belongs to the built-in models',
            )
        if file.build_model is None and name.startswith("hyperparameters."):
            raise ProblemError(
                f'nothing reads "{name}"',
                where=f"{file.path}, Problem.tuning",
                expected="build_model(problem, statistics, hyperparameters) in the file, or an argument of Training",
                received="a Problem file without build_model",
            )
    if request is not None:
        request.check(file.problem)
        request.check_search(tuning.space)
    return tuning
