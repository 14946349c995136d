"""State of a training: the counters of the loop, which a checkpoint stores with the arrays, and the history."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core.problem import Training

# Prefixes of the names of arrays in a checkpoint.
_NOW = "now/"
_BEST = "best/"
# The last bits of a sum of losses depend on the number of steps per call, which depends on clocks. Histories must not.
_DIGITS = 12
_FLOAT = "$float"

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Course:
    """The steps at which epochs end.

    Args:
        rows: number of rows of the train split: an epoch is one pass over them.
        batch_size: rows per step, `rows` at most.
        epochs: number of epochs if `steps` is not set.
        steps: total number of steps; the last epoch may be partial.
    """

    rows: int
    batch_size: int
    epochs: int
    steps: int | None = None

    @staticmethod
    def of(training: Training, rows: int, batch_size: int) -> Course:
        """The course of the options in `training`."""
        return Course(rows, batch_size, training.epochs, training.steps)

    @property
    def total(self) -> int:
        """Total number of steps, unless something ends the training sooner."""
        return self.steps or math.ceil(self.epochs * self.rows / self.batch_size)

    def end(self, epoch: int) -> int:
        """The step after which an epoch (from 1) ends: the first at which every row was read `epoch` times."""
        return min(math.ceil(epoch * self.rows / self.batch_size), self.total)

    def evaluations_after(self, step: int) -> int:
        """Number of epochs that end after `step`."""
        last = (self.total - 1) * self.batch_size // self.rows + 1
        return 0 if step >= self.total else last - step * self.batch_size // self.rows


@dataclass
class RunState:
    """A training, from its first step to its end; after it, the model holds the best weights.

    Attributes:
        step: number of steps so far.
        epoch: the current epoch, from 1; after the end the last one.
        loss_sum: sum over the steps of this epoch so far.
        history: one number per epoch: "loss" (mean over its steps), "eval_loss" (after it), "steps" (total so far) and
            other metrics.
        best_epoch: from 1; 0 before the first evaluation.
        best_loss: the eval loss after it.
        best: the model's weights after it, by name.
        stopped: why training ended; "" during training.
        train_seconds: duration of the steps, over all attempts.
        input_seconds: the part of `train_seconds` spent waiting for a batch.
        seconds: wall time, over all attempts.
        resumed: the steps at which later attempts resumed.
        callbacks: state of the Keras callbacks.
        notes: messages to read after the training: forecasts, warnings, skipped checkpoints.
    """

    step: int = 0
    epoch: int = 1
    loss_sum: float = 0.0
    history: dict[str, list[Any]] = field(default_factory=lambda: {"loss": [], "eval_loss": [], "steps": []})
    best_epoch: int = 0
    best_loss: float = math.inf
    best: Arrays = field(default_factory=dict)
    stopped: str = ""
    train_seconds: float = 0.0
    input_seconds: float = 0.0
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of steps so far."""
        return self.step

    def took(self, steps: int, loss_sum: float, seconds: float, waited_seconds: float) -> None:
        """Adds the steps of one call."""
        self.step += steps
        self.loss_sum += loss_sum
        self.train_seconds += seconds
        self.input_seconds += waited_seconds

    def evaluated(self, steps: int, measured: Mapping[str, float], logs: Mapping[str, float]) -> bool:
        """Adds the epoch to the history; returns whether it is the best so far.

        Args:
            steps: number of steps of this epoch.
            measured: metrics on the eval split, "loss" and others.
            logs: metrics on the train split, without the loss.
        """
        entry = {"loss": float(f"{self.loss_sum / steps:.{_DIGITS}g}"), "eval_loss": measured["loss"]}
        entry.update({name: value for name, value in logs.items() if name not in entry})
        entry.update({f"eval_{name}": value for name, value in measured.items() if name != "loss"})
        for name, value in {**entry, "steps": self.step}.items():
            self.history.setdefault(name, []).append(value)
        self.loss_sum = 0.0
        if measured["loss"] >= self.best_loss:
            return False
        self.best_loss, self.best_epoch = measured["loss"], self.epoch
        return True

    def to_json(self) -> dict[str, Any]:
        """The state without the weights, as a copy: it is written while training continues."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("best", "stopped")}
        encoded: dict[str, Any] = _encoded(plain)
        return encoded

    def arrays(self, now: Mapping[str, Any]) -> Arrays:
        """The arrays of a checkpoint: `now`, which is all that training changes, and the best weights."""
        best = {f"{_BEST}{name}": value for name, value in self.best.items()}
        return {**{f"{_NOW}{name}": value for name, value in now.items()}, **best}

    @staticmethod
    def names(model: Collection[str]) -> set[str]:
        """The names in `arrays` of the variables with these names."""
        return {f"{part}{name}" for part in (_NOW, _BEST) for name in model}

    @staticmethod
    def load(plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[RunState, Arrays]:
        """The state from the results of `to_json` and `arrays`, and `now`."""
        best = {name.removeprefix(_BEST): value for name, value in arrays.items() if name.startswith(_BEST)}
        now = {name.removeprefix(_NOW): value for name, value in arrays.items() if name.startswith(_NOW)}
        known = {field.name for field in dataclasses.fields(RunState)}
        state = RunState(**{name: _decoded(value) for name, value in plain.items() if name in known})
        state.best = best
        return state, now


def _encoded(value: Any) -> Any:
    """A copy with NaN and infinities as texts, since JSON has none: callbacks start with an infinite best value."""
    if isinstance(value, dict):
        return {name: _encoded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_encoded(inner) for inner in value]
    return {_FLOAT: repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _decoded(one) for name, one in value.items()}
        return float(inner[_FLOAT]) if inner.keys() == {_FLOAT} else inner
    return [_decoded(one) for one in value] if isinstance(value, list) else value
