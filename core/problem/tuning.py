"""Tuning section of a Problem: the search space and the trials of `headrace tune`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headrace.core.checks import check_bool, is_finite
from headrace.core.errors import ProblemError
from headrace.core.problem.training import Training

# Arguments of Training that are equal for all trials: all are judged on the same eval split with the same seed.
TUNABLE = ("batch_size", "cross_layers", "dropout", "epochs", "hidden_units", "learning_rate", "model", "patience")
_HYPERPARAMETER = "hyperparameters."
# Each value is checked by Training with the other arguments at their defaults.
_DEFAULT = Training()


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both inclusive: whole numbers if both are whole, unless `step` is not.

    Args:
        low: the minimum.
        high: the maximum.
        step: only low, low + step, ...; None for all values.
        log: a logarithmic scale, with as many values between 0.001 and 0.01 as between 0.01 and 0.1.

    Raises:
        ProblemError: the range is empty, or its scale is logarithmic with numbers that are not positive or with a step.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        where = f"Range({self.low!r}, {self.high!r})"
        if not is_finite(self.low) or not is_finite(self.high) or self.low >= self.high:
            raise ProblemError(
                "the bounds are wrong", where=where, expected="numbers with low < high", received=where[5:]
            )
        if self.step is not None and (not is_finite(self.step) or not 0 < self.step <= self.high - self.low):
            raise ProblemError(
                "step is wrong",
                where=where,
                expected=f"a number greater than 0, at most {self.high - self.low:g}",
                received=repr(self.step),
            )
        check_bool(self.log, "log", where=where, error=ProblemError)
        if self.log and self.low <= 0:
            raise ProblemError(
                "a logarithmic range must be positive", where=where, expected="low > 0", received=repr(self.low)
            )
        if self.log and self.step is not None:
            raise ProblemError(
                "log and step exclude each other", where=where, expected="one of the two", received="both"
            )

    @property
    def greatest(self) -> float:
        """The maximum value: `high`, or the last multiple of the step."""
        if self.step is None:
            return self.high
        # Computed in decimal: in binary, 0.1 is not exactly a tenth of 1.
        low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step))
        return float(low + (high - low) // step * step)

    @property
    def whole(self) -> bool:
        """Whether it contains whole numbers only."""
        return all(isinstance(value, int) for value in (self.low, self.high, 1 if self.step is None else self.step))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "Range", "low": self.low, "high": self.high, "step": self.step, "log": self.log}


@dataclass(frozen=True, init=False)
class Choice:
    """One of several values without an order.

    Args:
        options: two or more different JSON values.

    Raises:
        ProblemError: there are fewer than two values, equal values, or values that are not JSON.
    """

    options: tuple[Any, ...]

    def __init__(self, options: Sequence[Any]) -> None:
        listed = list(options) if isinstance(options, Sequence) and not isinstance(options, str) else []
        try:
            distinct = {json.dumps(option, allow_nan=False) for option in listed}
        except (TypeError, ValueError) as error:
            raise ProblemError(
                "the options are wrong", where="Choice", expected="JSON values", received=str(error)
            ) from error
        if len(distinct) < 2 or len(distinct) != len(listed):
            raise ProblemError(
                "the options are too few",
                where="Choice",
                expected="a list of two or more different values",
                received=repr(options),
            )
        object.__setattr__(self, "options", tuple(listed))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "Choice", "options": list(self.options)}


@dataclass(frozen=True)
class Tuning:
    """A search for the parameters of the model with the minimum loss on the eval split.

    Args:
        space: the search space: a Range or a Choice by the name of an argument of Training, or
            "hyperparameters.NAME" for the problem's hyperparameters.
        trials: number of trainings, including pruned ones.
        warmup_epochs: number of first epochs of a trial after none of which it is pruned.
        pruning_trials: number of trials that are chosen at random, and complete, before one is pruned. Later a trial is
            pruned if its best eval loss so far is worse than the median of the others after the same epoch.
        seed: the choice for a trial depends on the seed and on the trials before it.

    Raises:
        ProblemError: a name that cannot be tuned, or a value that Training refuses.
    """

    space: Mapping[str, Range | Choice]
    trials: int = 20
    warmup_epochs: int = 2
    pruning_trials: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("warmup_epochs", 0), ("pruning_trials", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ProblemError(
                    f"{name} is wrong",
                    where="Tuning",
                    expected=f"a whole number, {least} or more",
                    received=repr(value),
                )
        if not isinstance(self.space, Mapping) or not self.space:
            raise ProblemError(
                "the space is empty",
                where="Tuning",
                expected='space={"learning_rate": Range(1e-4, 1e-1, log=True), ...}',
                received=repr(self.space),
            )
        object.__setattr__(self, "space", dict(self.space))
        for name, values in self.space.items():
            _check_dimension(name, values)

    def check_hyperparameters(self, hyperparameters: Mapping[str, Any]) -> None:
        """Checks that the problem declares each hyperparameter of the space: others would have no effect.

        Raises:
            ProblemError: the problem does not declare one.
        """
        for name in self.space:
            inner = name.removeprefix(_HYPERPARAMETER)
            if name != inner and inner not in hyperparameters:
                raise ProblemError(
                    f'the hyperparameter "{inner}" does not exist',
                    where="Problem.tuning",
                    expected=f"one of {', '.join(hyperparameters)}" if hyperparameters else "hyperparameters={...}",
                    received=f'"{name}"',
                    fix=f'Add hyperparameters={{"{inner}": ...}} to the Problem, as the value without a search',
                )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "space": {name: values.to_json() for name, values in self.space.items()},
            "trials": self.trials,
            "warmup_epochs": self.warmup_epochs,
            "pruning_trials": self.pruning_trials,
            "seed": self.seed,
        }


def split_parameters(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A trial's parameters, split into arguments of Training and hyperparameters by name."""
    training = {name: value for name, value in parameters.items() if not name.startswith(_HYPERPARAMETER)}
    rest = {n.removeprefix(_HYPERPARAMETER): v for n, v in parameters.items() if n.startswith(_HYPERPARAMETER)}
    return training, rest


def _check_dimension(name: str, values: Range | Choice) -> None:
    where = f'Tuning.space["{name}"]'
    if not isinstance(values, Range | Choice):
        raise ProblemError("the space is wrong", where=where, expected="a Range or a Choice", received=repr(values))
    if isinstance(name, str) and name.startswith(_HYPERPARAMETER) and name != _HYPERPARAMETER:
        return
    if name not in TUNABLE:
        raise ProblemError(
            f'"{name}" cannot be tuned',
            where="Tuning.space",
            expected=f'one of {", ".join(TUNABLE)}, or "{_HYPERPARAMETER}NAME"',
            received=repr(name),
        )
    # Training must accept all options, and both ends of a range.
    ends = values.options if isinstance(values, Choice) else (values.low, values.high)
    for value in ends:
        try:
            dataclasses.replace(_DEFAULT, **{name: value})
        except ProblemError as error:
            raise ProblemError(
                f"{name} is wrong", where=where, expected=error.expected, received=repr(value)
            ) from error
    if isinstance(values, Range) and isinstance(getattr(_DEFAULT, name), int) and not values.whole:
        raise ProblemError(
            f"{name} must be a whole number",
            where=where,
            expected=f"Range({math.ceil(values.low)}, {math.floor(values.high)})",
            received=f"Range({values.low!r}, {values.high!r})",
        )
