"""One trial: a training with given parameters, which tells its eval loss after each epoch and may be ended by it.

Nothing here knows who chooses the parameters and who judges the loss: a search on this machine, or a service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.components.train.request import Request
from headrace.core.errors import ProblemError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning, split_parameters
from headrace.core.progress import Progress
from headrace.core.steps import identity as lineage

# What of Training a model of the user's own does not see.
_OF_THE_DEFAULT_MODEL = frozenset({"model", "hidden_units", "cross_layers", "dropout"})


class Pruned(Exception):
    """The trial is ended: others were better by the same epoch."""


@dataclass(frozen=True)
class TrialConfig:
    """Where a trial reads and writes, and what it tries.

    Args:
        parameters: by name, as in `Tuning.space`.
        examples: the Examples artifact.
        output: where its Model is published.
        checkpoints: where its state is kept.
        request: the options of the training.
    """

    parameters: Mapping[str, Any]
    examples: str
    output: str
    checkpoints: str
    request: Request


def run(file: ProblemFile, config: TrialConfig, report: Progress, judge: Callable[[int, float], bool]) -> TrainResult:
    """Trains with the parameters.

    Args:
        file: the problem.
        config: what to try.
        report: told of progress.
        judge: asked after each epoch (from 1) with the eval loss, whether to go on.

    Raises:
        Pruned: `judge` said no.
        HeadraceError: as `train` does.
    """
    from headrace.components.train import trainer

    made_from = lineage.examples_identity_of(config.examples)
    # The same parameters of the same problem are the same Model, whoever chose them.
    identity = config.request.identity(file, made_from, config.parameters)
    given = config.request.config(
        file, examples=config.examples, output=config.output, checkpoints=config.checkpoints, identity=identity
    )

    def after_epoch(epoch: int, measured: Mapping[str, float]) -> None:
        if not judge(epoch, float(measured["val_loss"])):
            raise Pruned

    return trainer.train(with_parameters(file, config.parameters), given, report, after_epoch=after_epoch)


def with_parameters(file: ProblemFile, parameters: Mapping[str, Any]) -> ProblemFile:
    """The problem with `parameters` instead of what it says.

    Raises:
        ProblemError: a value that Training refuses.
    """
    training, hyperparameters = split_parameters(parameters)
    problem = dataclasses.replace(
        file.problem,
        training=dataclasses.replace(file.problem.training, **training),
        hyperparameters={**file.problem.hyperparameters, **hyperparameters},
    )
    return dataclasses.replace(file, problem=problem)


def tuning_of(file: ProblemFile, request: Request | None = None) -> Tuning:
    """What to try, where a search makes a difference: the model must see each parameter.

    Args:
        file: the problem.
        request: the options of each trial, which may not set what the search chooses.

    Raises:
        UsageError: an option and the search set the same.
        ProblemError: there is nothing to try, or something that nobody reads.
    """
    tuning = file.problem.tuning
    if tuning is None:
        raise ProblemError(
            "there is nothing to tune",
            where=file.path,
            expected='Problem(..., tuning=Tuning(space={"learning_rate": Range(1e-4, 1e-1, log=True)}))',
            received="a Problem without tuning",
        )
    for name in tuning.space:
        if file.build_model is not None and name in _OF_THE_DEFAULT_MODEL:
            raise ProblemError(
                f'build_model does not see "{name}"',
                where=f"{file.path}, Problem.tuning",
                expected=f'"hyperparameters.{name}", which build_model is given',
                received=f'"{name}", which is of the models that come along',
            )
        if file.build_model is None and name.startswith("hyperparameters."):
            raise ProblemError(
                f'nobody reads "{name}"',
                where=f"{file.path}, Problem.tuning",
                expected="build_model(problem, statistics, hyperparameters) in the file, or an argument of Training",
                received="a Problem file without build_model",
            )
    if request is not None:
        request.check(file.problem)
        request.check_search(tuning.space)
    return tuning
