"""What a training run is asked to do, and what came of it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from headrace.components.errors import ProblemError, UsageError
from headrace.components.problem import Training

_IDENTITY = re.compile(r"[0-9a-f]{16}\Z")
_OVERRIDES = ("batch_size", "epochs", "steps", "learning_rate", "seed")


@dataclass(frozen=True)
class TrainConfig:
    """Where to read, where to write, and what to change of the problem's `training`.

    Args:
        examples: the Examples artifact.
        output: where the Model artifact is published; what is there is replaced.
        identity: 16 hexadecimal digits; it becomes the model's version.
        batch_size, epochs, steps, learning_rate, seed: used instead of the problem's, unless None.

    Raises:
        UsageError: a path that is empty, an identity that is none, an override outside its range.
    """

    examples: str
    output: str
    identity: str
    batch_size: int | None = None
    epochs: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("examples", "output"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="TrainConfig", expected="a folder")
        if not _IDENTITY.match(self.identity):
            raise UsageError(
                "identity is wrong", where="TrainConfig", expected="16 hexadecimal digits", received=repr(self.identity)
            )
        self.apply_to(Training())

    def apply_to(self, training: Training) -> Training:
        """`training` with the overrides in place.

        Raises:
            UsageError: an override outside its range.
        """
        given = {name: getattr(self, name) for name in _OVERRIDES if getattr(self, name) is not None}
        try:
            return dataclasses.replace(training, **given)
        except ProblemError as error:
            raise UsageError(
                error.what, where="TrainConfig", expected=error.expected, received=error.received
            ) from error


@dataclass(frozen=True)
class TrainResult:
    """What training came to.

    Attributes:
        model_version: the identity of the training.
        epochs: passes over the train split, the last one counted even if `steps` cut it short.
        steps: gradient steps taken.
        best_epoch: the epoch (from 1) whose weights were exported: the one of least eval loss.
        loss: mean loss over the steps of that epoch: squared error in the label's own unit, or cross-entropy in nats.
        eval_loss: mean loss over the eval split after that epoch.
        rows_per_second: rows trained on a second, evaluation and start-up apart.
        parameters: trained numbers in the model.
        stopped: why training ended.
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
