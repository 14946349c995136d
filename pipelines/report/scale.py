"""Axis scales: map data values to positions on the page, and choose ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

# Above this ratio of maximum to minimum, a linear axis shows only the large values.
_LOG_RATIO = 12.0
# Values that differ by less than this fraction of their size have indistinguishable ticks.
_LEAST_SPREAD = 1e-9
_MOST_DECIMALS = 6
# Beyond these, differences of values overflow or vanish.
_GREATEST, _LEAST = 1e300, 1e-250


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end].

    Args:
        low: minimum of the axis.
        high: maximum of the axis, greater than `low`.
        start: position of `low`, in pixels or percent.
        end: position of `high`.
        logarithmic: whether equal ratios have equal lengths; `low` is then positive.
    """

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0
    logarithmic: bool = False

    @classmethod
    def over(
        cls,
        values: Iterable[float | None],
        start: float = 0.0,
        end: float = 100.0,
        *,
        padding: float = 0.06,
        may_be_logarithmic: bool = False,
    ) -> Self:
        """A scale for all of `values`, with a margin of `padding` times their range at either end."""
        known = [_tame(v) for v in values if v is not None] or [0.0, 1.0]
        low, high = min(known), max(known)
        if may_be_logarithmic and low > 0 and high / low > _LOG_RATIO:
            margin = (high / low) ** padding
            return cls(low / margin, high * margin, start, end, logarithmic=True)
        size = max(abs(low), abs(high))
        if high - low <= _LEAST_SPREAD * size:
            margin = size * 0.1 or 0.5
            low, high = low - margin, high + margin
        spread = high - low
        return cls(low - padding * spread, high + padding * spread, start, end)

    def __call__(self, value: float) -> float:
        """The position of `value`, clipped to the ends of the scale."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def place(self, value: float | None) -> float | None:
        """The position of `value`; None for None."""
        return None if value is None else self(value)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Round values within the scale, with their labels."""
        if self.logarithmic:
            found = _log_ticks(self.low, self.high)
            if len(found) >= 3:
                return found
        raw = (self.high - self.low) / max(about, 1)
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
        exponent = math.floor(math.log10(step) + 1e-9)
        decimals = max(0, -exponent)
        if decimals <= _MOST_DECIMALS and round(step * 10**decimals, 6) % 1:
            decimals += 1
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, _tick(i * step, decimals)) for i in range(first, last + 1)]


def _tame(value: float) -> float:
    if abs(value) < _LEAST:
        return 0.0
    return min(max(value, -_GREATEST), _GREATEST)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples = (1,) if len(exponents) > 5 else (1, 2, 5)
    values = [m * 10.0**e for e in exponents for m in multiples]
    return [(v, f"{v:g}") for v in values if low <= v <= high]


def _tick(value: float, decimals: int) -> str:
    if decimals > _MOST_DECIMALS or abs(value) >= 1e9:
        return f"{value:.4g}".replace("-", "−")  # noqa: RUF001
    if abs(value) >= 10_000 and not decimals and value % 1000 == 0:
        return f"{value / 1000:,.0f}k".replace("-", "−")  # noqa: RUF001
    return f"{value + 0.0:,.{decimals}f}".replace("-", "−")  # noqa: RUF001
