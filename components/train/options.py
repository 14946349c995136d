"""How a training run is carried out: what a Problem need not say, since the model that comes of it is the same."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from headrace.core.checks import check_count, check_positive
from headrace.core.errors import UsageError
from headrace.core.problem import METRICS

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Cache = Literal["auto", "memory", "disk", "none"]
Sharding = Literal["auto", "file", "record"]

_TARGET = re.compile(r"([a-z_]+)=([^=]+)\Z")


@dataclass(frozen=True)
class Distribution:
    """On what the model is trained.

    Args:
        strategy: "auto" follows from what the machine reports; any other is refused where it cannot be had.
        precision: what layers compute in; weights stay float32. "auto" is bfloat16 where the device gains from it.
        xla: compile the step with XLA.

    Raises:
        UsageError: an unknown name.
    """

    strategy: StrategyName = "auto"
    precision: Precision = "auto"
    xla: bool = False

    def __post_init__(self) -> None:
        _check_word(self.strategy, "strategy", get_args(StrategyName))
        _check_word(self.precision, "precision", get_args(Precision))
        _check_bool(self.xla, "xla")


@dataclass(frozen=True)
class Input:
    """How rows reach the model.

    Args:
        cache: where parsed rows are kept; "auto" takes memory where they fit, then local disk, then neither.
        sharding: how several workers share the rows: whole files each, or records of every file; "auto" decides.
        deterministic: the same rows in the same order in every run, whatever the cache.

    Raises:
        UsageError: an unknown word.
    """

    cache: Cache = "auto"
    sharding: Sharding = "auto"
    deterministic: bool = True

    def __post_init__(self) -> None:
        _check_word(self.cache, "cache", get_args(Cache))
        _check_word(self.sharding, "sharding", get_args(Sharding))
        _check_bool(self.deterministic, "deterministic")


@dataclass(frozen=True)
class Checkpointing:
    """When the state of a run is kept, so that a run that was ended goes on where it was.

    Args:
        folder: where; "" keeps none. A run with the same identity resumes from there.
        steps: steps between two checkpoints at most; None leaves it to the minutes.
        minutes: minutes between two checkpoints at most.
        keep: how many of the newest are kept.

    Raises:
        UsageError: a number outside its range.
    """

    folder: str = field(default="", metadata={"option": ""})
    steps: int | None = field(default=None, metadata={"option": "checkpoint_steps"})
    minutes: float = field(default=5.0, metadata={"option": "checkpoint_minutes"})
    keep: int = field(default=2, metadata={"option": "keep_checkpoints"})

    def __post_init__(self) -> None:
        for name, value in (("checkpoint steps", self.steps), ("kept checkpoints", self.keep)):
            if value is not None:
                check_count(value, name)
        check_positive(self.minutes, "checkpoint minutes")


@dataclass(frozen=True)
class Budget:
    """What a training may take: it ends at the first of these, and exports the best model so far.

    Args:
        max_hours: hours of wall time, those of earlier attempts of the same run included.
        max_cost: in the currency of the price.
        price_per_hour: of the machine, or of all machines together.
        target: "metric=value" on the eval split; reached when the metric is as good or better.

    Raises:
        UsageError: a number that is not positive, a cost without a price, an unknown metric.
    """

    max_hours: float | None = None
    max_cost: float | None = None
    price_per_hour: float | None = None
    target: str = ""

    @property
    def limits(self) -> list[tuple[float, str]]:
        """Hours in all, and the option that bounds them, of each option that does."""
        limits = [] if self.max_hours is None else [(self.max_hours, f"max_hours {self.max_hours:g}")]
        if self.max_cost is not None and self.price_per_hour is not None:
            limits.append((self.max_cost / self.price_per_hour, f"max_cost {self.max_cost:g}"))
        return limits

    @property
    def hours(self) -> float | None:
        """The minimum of `limits`, in hours; None without a limit."""
        return min((hours for hours, _ in self.limits), default=None)

    @property
    def effective(self) -> Budget:
        """The options that can end a training: a price alone ends nothing."""
        return self if self.max_cost is not None else replace(self, price_per_hour=None)

    def __post_init__(self) -> None:
        for name in ("max_hours", "max_cost", "price_per_hour"):
            value = getattr(self, name)
            if value is not None:
                check_positive(value, name)
        if self.max_cost is not None and self.price_per_hour is None:
            raise UsageError(
                "a cost cannot be bounded without a price",
                expected="--price-per-hour, or --machine-type with a price table",
                received=f"--max-cost {self.max_cost:g} alone",
            )
        if self.target or not isinstance(self.target, str):
            self.target_metric()

    def target_metric(self) -> tuple[str, float]:
        """The metric's name and the value to reach.

        Raises:
            UsageError: it is not "metric=value" of a known metric.
        """
        found = _TARGET.match(self.target) if isinstance(self.target, str) else None
        names = sorted({name for metrics in METRICS.values() for name in metrics})
        try:
            if found and found[1] in names and math.isfinite(float(found[2])):
                return found[1], float(found[2])
        except ValueError:
            pass
        raise UsageError(
            "the target is wrong",
            expected=f"METRIC=VALUE with one of {', '.join(names)}",
            received=repr(self.target),
        )


@dataclass(frozen=True)
class Tracking:
    """Who else is told how a training goes.

    Args:
        tensorboard: write TensorBoard logs beside the Model.

    Raises:
        UsageError: it is neither true nor false.
    """

    tensorboard: bool = False

    def __post_init__(self) -> None:
        _check_bool(self.tensorboard, "tensorboard")


@dataclass(frozen=True)
class Options:
    """How a training is carried out."""

    distribution: Distribution = field(default_factory=Distribution)
    input: Input = field(default_factory=Input)
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    budget: Budget = field(default_factory=Budget)
    tracking: Tracking = field(default_factory=Tracking)


def _check_word(value: Any, name: str, words: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in words:
        raise UsageError(f"{name} is wrong", expected=" or ".join(words), received=repr(value))


def _check_bool(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is wrong", expected="true or false", received=repr(value))
