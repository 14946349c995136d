"""Training budget: measures and forecasts the time and the cost of a training, and compares them with its limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.components.train.options import Budget
from headrace.core.problem import METRICS

# The first steps are slower than the rest; the pace of the first minute is accurate enough for a warning.
FORECAST_AFTER_SECONDS = 60.0
# Entries of the budget in training.json that are not limits: the use and the price.
NOT_LIMITS = frozenset({"hours", "cost", "price_per_hour"})

_HIGHER_IS_BETTER = {name: higher for metrics in METRICS.values() for name, higher in metrics.items()}


@dataclass(frozen=True)
class Pace:
    """The measured speed of a training.

    Attributes:
        step_seconds: duration of one step, including the wait for its batch.
        evaluation_seconds: duration of one evaluation; None before the first.
    """

    step_seconds: float
    evaluation_seconds: float | None = None

    def seconds(self, steps: int, evaluations: int) -> float:
        """Seconds for this number of steps and evaluations."""
        return steps * self.step_seconds + evaluations * (self.evaluation_seconds or 0.0)


@dataclass(frozen=True)
class Forecast:
    """The time and the cost of a training at the end of its last step.

    Attributes:
        seconds: total, including earlier attempts.
        left_seconds: the remaining part of `seconds`.
        cost: total; None without a price.
        enough: whether the budget suffices.
        text: the forecast for people.
    """

    seconds: float
    left_seconds: float
    cost: float | None
    enough: bool
    text: str


class Meter:
    """Measures a training against its budget.

    Args:
        budget: the limits.
        clock: seconds from any origin. The meter starts here, because reading the rows and building the model take
            time too.
    """

    def __init__(self, budget: Budget, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self._clock, self._started, self._earlier = clock, clock(), 0.0

    def resume(self, seconds: float) -> None:
        """Adds the seconds of earlier attempts of the same run."""
        self._earlier = seconds

    @property
    def seconds(self) -> float:
        """Seconds used by all attempts."""
        return self._earlier + self._clock() - self._started

    @property
    def cost(self) -> float | None:
        """The cost of `seconds`; None without a price."""
        return self._cost_of(self.seconds)

    def seconds_left(self) -> float:
        """Seconds until the first limit, of hours or of cost, is reached; infinity without a limit."""
        return min(limit for limit, _ in self._limits()) - self.seconds

    def exhausted(self, reserve_seconds: float = 0.0) -> str:
        """The limit that is reached, hours or cost, for people; "" if no limit is reached.

        Args:
            reserve_seconds: seconds that will be used before the next check and by the last evaluation.
        """
        limit, option = min(self._limits(), key=lambda bound: bound[0])
        if self.seconds + reserve_seconds < limit:
            return ""
        cost = "" if self.cost is None else f", {self.cost:.2f}"
        return f"{option}: {self.seconds / 3600:.3g} h{cost} used"

    def reached(self, measured: Mapping[str, float]) -> str:
        """The target that is reached, for people; "" if it is not reached or not set.

        Args:
            measured: metrics on the eval split, by name.
        """
        if not self.budget.target:
            return ""
        metric, value = self.budget.target_metric()
        current = measured.get(metric, math.nan)
        good = current >= value if _HIGHER_IS_BETTER[metric] else current <= value
        return f"target: {metric} {current:.4g}, requested was {value:g}" if good else ""

    def forecast(self, pace: Pace, *, steps: int, evaluations: int) -> Forecast:
        """The time and the cost after this number of further steps and evaluations."""
        left = pace.seconds(steps, evaluations)
        seconds = self.seconds + left
        cost = self._cost_of(seconds)
        limit, option = min(self._limits(), key=lambda bound: bound[0])
        text = f"forecast: {duration(left)} remaining, {duration(seconds)} in total"
        if cost is not None:
            text += f", {cost:.2f} at {self.budget.price_per_hour:g} per hour"
        text += ", unless early stopping ends it sooner"
        enough = seconds <= limit
        if not enough:
            reached = max(0.0, limit - self.seconds) / left if left else 0.0
            text += f". Warning: {option} is too small: it ends training after {reached:.0%} of the remaining time"
        return Forecast(seconds, left, cost, enough, text)

    def _cost_of(self, seconds: float) -> float | None:
        price = self.budget.price_per_hour
        return None if price is None else seconds / 3600 * price

    def _limits(self) -> list[tuple[float, str]]:
        """Limits of the total seconds, with the option that sets each."""
        return [(math.inf, ""), *((hours * 3600, option) for hours, option in self.budget.limits)]


def duration(seconds: float) -> str:
    """Formats seconds for people: "45 s", "12 min", "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.2f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
