"""What a training has used of its time and money, what it will use, and whether that is within its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.components.train.options import Budget
from headrace.core.problem import METRICS

# The first steps are slower than the rest; what is measured in the first minute is good enough to warn.
FORECAST_AFTER_SECONDS = 60.0
# Entries of the budget in training.json that end no training: what was used, and a price.
NOT_LIMITS = frozenset({"hours", "cost", "price_per_hour"})

_HIGHER_IS_BETTER = {name: higher for metrics in METRICS.values() for name, higher in metrics.items()}


@dataclass(frozen=True)
class Pace:
    """How fast a training was so far.

    Attributes:
        step_seconds: of one step, waiting for its batch included.
        evaluation_seconds: of one evaluation; None before the first.
    """

    step_seconds: float
    evaluation_seconds: float | None = None

    def seconds(self, steps: int, evaluations: int) -> float:
        """What so many take."""
        return steps * self.step_seconds + evaluations * (self.evaluation_seconds or 0.0)


@dataclass(frozen=True)
class Forecast:
    """What a training will have used when all its steps are taken.

    Attributes:
        seconds: in all, those of earlier attempts included.
        left_seconds: of those, still to come.
        cost: in all; None without a price.
        enough: whether the budget will do.
        text: all of it, to be read by people.
    """

    seconds: float
    left_seconds: float
    cost: float | None
    enough: bool
    text: str


class Meter:
    """Measures a training against its budget.

    Args:
        budget: what it may take.
        clock: seconds, of any beginning. The meter runs from here on: reading the rows and building the model cost
            time too.
    """

    def __init__(self, budget: Budget, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self._clock, self._started, self._earlier = clock, clock(), 0.0

    def resume(self, seconds: float) -> None:
        """Adds what earlier attempts of the same run took."""
        self._earlier = seconds

    @property
    def seconds(self) -> float:
        """Used so far, in all attempts."""
        return self._earlier + self._clock() - self._started

    @property
    def cost(self) -> float | None:
        """Of `seconds`; None without a price."""
        return self._cost_of(self.seconds)

    def seconds_left(self) -> float:
        """Until the hours or the money are used up; infinity without a bound."""
        return min(limit for limit, _ in self._limits()) - self.seconds

    def exhausted(self, reserve_seconds: float = 0.0) -> str:
        """Which of the hours and the money is used up; "" where neither is.

        Args:
            reserve_seconds: that will be used before it is asked again, and after: a last evaluation costs too.
        """
        limit, said = min(self._limits(), key=lambda bound: bound[0])
        if self.seconds + reserve_seconds < limit:
            return ""
        cost = "" if self.cost is None else f", {self.cost:.2f}"
        return f"{said}: {self.seconds / 3600:.3g} h{cost} used"

    def reached(self, measured: Mapping[str, float]) -> str:
        """Whether the target is reached, in words; "" where it is not, or where there is none.

        Args:
            measured: metrics on the eval split, by name.
        """
        if not self.budget.target:
            return ""
        metric, value = self.budget.target_metric()
        found = measured.get(metric, math.nan)
        good = found >= value if _HIGHER_IS_BETTER[metric] else found <= value
        return f"target: {metric} {found:.4g}, asked for was {value:g}" if good else ""

    def forecast(self, pace: Pace, *, steps: int, evaluations: int) -> Forecast:
        """What will have been used when so many more steps and evaluations are done."""
        left = pace.seconds(steps, evaluations)
        seconds = self.seconds + left
        cost = self._cost_of(seconds)
        limit, said = min(self._limits(), key=lambda bound: bound[0])
        text = f"forecast: {duration(left)} to come, {duration(seconds)} in all"
        if cost is not None:
            text += f", {cost:.2f} at {self.budget.price_per_hour:g} an hour"
        text += ", unless early stopping ends it sooner"
        enough = seconds <= limit
        if not enough:
            reached = max(0.0, limit - self.seconds) / left if left else 0.0
            text += f". Warning: {said} will not do: it ends training after {reached:.0%} of what is to come"
        return Forecast(seconds, left, cost, enough, text)

    def _cost_of(self, seconds: float) -> float | None:
        price = self.budget.price_per_hour
        return None if price is None else seconds / 3600 * price

    def _limits(self) -> list[tuple[float, str]]:
        """Seconds in all, and the option that bounds them."""
        return [(math.inf, ""), *((hours * 3600, option) for hours, option in self.budget.limits)]


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.2f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
