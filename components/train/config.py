"""Training configuration and training result."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.train.options import Options
from headrace.core.artifacts.kinds import MODEL
from headrace.core.errors import ProblemError, UsageError
from headrace.core.problem import Training
from headrace.core.storage.output_check import check_output

_IDENTITY = re.compile(r"[0-9a-f]{16}\Z")
# Entries of training.json in the summary of a run.
_TOLD = ("model", "strategy", "input_share", "bound", "budget", "warm_start", "checkpoints", "notes")
OVERRIDES = ("batch_size", "epochs", "steps", "learning_rate", "seed")


@dataclass(frozen=True)
class TrainConfig:
    """Input, output and options of a training, and overrides of the problem's `training`.

    Args:
        examples: the Examples artifact.
        output: the folder in which the Model artifact is published; an earlier Model there is replaced.
        identity: 16 hexadecimal digits; it becomes the model's version.
        run_identity: 16 hexadecimal digits, or "" for those of `identity`; a run resumes from the checkpoints of a run
            with the same run_identity.
        warm_start: a Model with whose weights training starts; "" for new weights.
        options: devices, input, checkpoints, budget and tracking.
        batch_size, epochs, steps, learning_rate, seed: used instead of the problem's, unless None.

    Raises:
        UsageError: a path is empty, an identity is not 16 hexadecimal digits, or an override is outside its range.
    """

    examples: str
    output: str
    identity: str
    run_identity: str = ""
    warm_start: str = ""
    options: Options = field(default_factory=Options)
    batch_size: int | None = None
    epochs: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("examples", "output"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="TrainConfig", expected="a folder")
        for name, value in (("identity", self.identity), ("run_identity", self.run_identity or self.identity)):
            if not _IDENTITY.match(value):
                raise UsageError(
                    f"{name} is wrong", where="TrainConfig", expected="16 hexadecimal digits", received=repr(value)
                )
        if not self.run_identity:
            object.__setattr__(self, "run_identity", self.identity)
        self.apply_to(Training())

    def check_output(self, problem: str) -> None:
        """Checks that `output` is unused or holds a Model, and contains none of the paths of inputs and checkpoints.

        Raises:
            UsageError: it is something else, or contains one of these paths.
        """
        check_model_output(
            self.output,
            examples=self.examples,
            warm_start=self.warm_start,
            checkpoints=self.options.checkpointing.folder,
            problem=problem,
        )

    def apply_to(self, training: Training) -> Training:
        """Returns `training` with the overrides applied.

        Raises:
            UsageError: an override is outside its range.
        """
        given = {name: getattr(self, name) for name in OVERRIDES if getattr(self, name) is not None}
        return with_overrides(training, given)


def with_overrides(training: Training, given: Mapping[str, Any]) -> Training:
    """Returns `training` with other values for some of its arguments.

    Raises:
        UsageError: a value is outside its range.
    """
    try:
        return dataclasses.replace(training, **given)
    except ProblemError as error:
        raise UsageError(error.what, where="TrainConfig", expected=error.expected, received=error.received) from error


@dataclass(frozen=True)
class TrainResult:
    """Result of a training.

    Attributes:
        model_version: the identity of the training.
        epochs: number of passes over the train split, including a last one that `steps` ended early.
        steps: number of gradient steps.
        best_epoch: the epoch (from 1) with the minimum eval loss, whose weights were exported.
        loss: mean loss over the steps of that epoch: squared error in the label's own unit, or cross-entropy in nats.
        eval_loss: mean loss over the eval split after that epoch.
        rows_per_second: trained rows per second, without evaluation and start-up.
        parameters: number of trainable parameters.
        stopped: why training ended.
        record: the content of training.json.
    """

    model_version: str
    epochs: int
    steps: int
    best_epoch: int
    loss: float
    eval_loss: float
    rows_per_second: float
    parameters: int
    stopped: str
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The result in a run's summary; the rest, such as the history, is in training.json only."""
        plain = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "record"}
        return {**plain, **{name: self.record[name] for name in _TOLD if name in self.record}}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> TrainResult:
        """The result from the content of a training.json."""
        best = record["best_epoch"] - 1
        same = ("model_version", "epochs", "steps", "best_epoch", "rows_per_second", "parameters", "stopped")
        return cls(
            **{name: record[name] for name in same},
            loss=record["history"]["loss"][best],
            eval_loss=record["history"]["eval_loss"][best],
            record=record,
        )


def check_model_output(output: str, *, examples: str, warm_start: str, checkpoints: str, problem: str) -> None:
    """Checks that `output` is unused or holds a Model, and contains none of the other paths.

    Raises:
        UsageError: it is something else, or contains one of these paths.
    """
    inputs = {"--examples": examples, "--warm-start": warm_start, "--checkpoints": checkpoints, "--problem": problem}
    check_output(output, MODEL, inputs=inputs)
