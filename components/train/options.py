"""Options of how a training is executed: devices, input, checkpoints, budget and tracking."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from headrace.core.checks import check_bool, check_count, check_positive
from headrace.core.errors import UsageError
from headrace.core.problem import METRICS

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Cache = Literal["auto", "memory", "disk", "none"]
Sharding = Literal["auto", "file", "record"]

_TARGET = re.compile(r"([a-z_]+)=([^=]+)\Z")


@dataclass(frozen=True)
class Distribution:
    """Devices and precision of a training.

    Args:
        strategy: "auto" chooses by the devices of the machine; any other is refused if the machine does not support it.
        precision: the type in which layers compute; weights are float32. "auto" is mixed_bfloat16 on devices that
            multiply faster in bfloat16, else float32.
        xla: whether to compile the step with XLA.

    Raises:
        UsageError: a value is not valid.
    """

    strategy: StrategyName = "auto"
    precision: Precision = "auto"
    xla: bool = False

    def __post_init__(self) -> None:
        _check_word(self.strategy, "strategy", get_args(StrategyName))
        _check_word(self.precision, "precision", get_args(Precision))
        check_bool(self.xla, "xla")


@dataclass(frozen=True)
class Input:
    """Input pipeline of a training.

    Args:
        cache: where parsed rows are cached; "auto" is memory if they fit, else local disk if they fit, else "none".
        sharding: how rows are divided among workers: whole files, or records of every file; "auto" chooses one.
        deterministic: whether every run reads the same rows in the same order, whatever the cache.

    Raises:
        UsageError: a value is not valid.
    """

    cache: Cache = "auto"
    sharding: Sharding = "auto"
    deterministic: bool = True

    def __post_init__(self) -> None:
        _check_word(self.cache, "cache", get_args(Cache))
        _check_word(self.sharding, "sharding", get_args(Sharding))
        check_bool(self.deterministic, "deterministic")


@dataclass(frozen=True)
class Checkpointing:
    """Checkpoints of a training: an interrupted run resumes from the newest one.

    Args:
        folder: folder of the checkpoints; "" writes none. A run with the same identity resumes from it.
        steps: maximum number of steps between two checkpoints; None for the limit in minutes only.
        minutes: maximum time between two checkpoints, in minutes.
        keep: number of newest checkpoints to retain.

    Raises:
        UsageError: a number is outside its range.
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
    """Limits of a training: it ends at the first one that is reached, and exports the best model so far.

    Args:
        max_hours: maximum wall time in hours, including earlier attempts of the same run.
        max_cost: maximum cost, in the currency of the price.
        price_per_hour: price per hour of the machine, or of all machines together.
        target: "metric=value" on the eval split; reached when the metric is equal or better.

    Raises:
        UsageError: a number is not positive, a cost has no price, or a metric is unknown.
    """

    max_hours: float | None = None
    max_cost: float | None = None
    price_per_hour: float | None = None
    target: str = ""

    @property
    def limits(self) -> list[tuple[float, str]]:
        """(total hours, the option that sets them) for each limit of time or cost."""
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
        """The options that can end a training: a price alone cannot."""
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
        """The metric's name and its target value.

        Raises:
            UsageError: the target is not "metric=value" of a known metric.
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
    """Trackers of a training.

    Args:
        tensorboard: whether to write TensorBoard logs next to the Model.

    Raises:
        UsageError: the value is neither true nor false.
    """

    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_bool(self.tensorboard, "tensorboard")


@dataclass(frozen=True)
class Options:
    """All options of how a training is executed."""

    distribution: Distribution = field(default_factory=Distribution)
    input: Input = field(default_factory=Input)
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    budget: Budget = field(default_factory=Budget)
    tracking: Tracking = field(default_factory=Tracking)


def _check_word(value: Any, name: str, words: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in words:
        raise UsageError(f"{name} is wrong", expected=" or ".join(words), received=repr(value))
