"""Bounds of a number for rows that are still to come, wider than those of the rows that were seen."""

from __future__ import annotations

import math
import sys

from headrace.components.preprocess.draft.infer import Inferred

# A skewed column's maximum, in multiples of its median, and how far tomorrow's may go.
_SKEWED, _SKEWED_ROOM = 20.0, 10.0


def bounds(column: Inferred) -> tuple[str, str]:
    """Bounds that tomorrow's rows keep: as far again as what was seen, more where it is skewed, and not across zero."""
    low, high = column.low, column.high
    room = min(max(high - low, abs(high) if high == low else 0.0), sys.float_info.max)
    bottom, top = low - room, high + room
    if low >= 0 and high > _SKEWED * column.middle > 0:
        top = high * _SKEWED_ROOM
    if high <= 0 and low < _SKEWED * column.middle < 0:
        bottom = low * _SKEWED_ROOM
    return outward(max(0.0, bottom) if low >= 0 else bottom, min(0.0, top) if high <= 0 else top)


def outward(low: float, high: float) -> tuple[str, str]:
    """Bounds that are round and no narrower, in as few digits as say them; finite ones."""
    largest, smallest = sys.float_info.max, sys.float_info.min
    low, high = max(low, -largest), min(high, largest)
    # The width of the widest range overflows, and half of the narrowest one is 0.
    width = min(max(high - low, smallest), largest)
    step = 10.0 ** math.floor(math.log10(width)) / 2
    bottom = max(math.floor(low / step) * step, -largest)
    top = min(math.ceil(high / step) * step, largest)
    # Rounding to the step's digits removes what binary fractions add, but not what keeps the values inside.
    return as_number(min(float(f"{bottom:.12g}"), low)), as_number(max(float(f"{top:.12g}"), high))


def as_number(value: float) -> str:
    """A number in as few digits as say it exactly: 10, not 10.0."""
    return repr(value + 0.0).removesuffix(".0")
