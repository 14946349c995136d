"""Bounds of a number for future rows, wider than the range of the present rows."""

from __future__ import annotations

import math
import sys

from headrace.components.preprocess.draft.infer import InferredColumn

# A skewed column has a maximum of this multiple of its median; its upper bound is this multiple of its maximum.
_SKEWED, _SKEWED_ROOM = 20.0, 10.0


def bounds(column: InferredColumn) -> tuple[str, str]:
    """Bounds for future rows: twice the present range, more for skewed columns, and without a change of sign."""
    low, high = column.low, column.high
    room = min(max(high - low, abs(high) if high == low else 0.0), sys.float_info.max)
    bottom, top = low - room, high + room
    if low >= 0 and high > _SKEWED * column.middle > 0:
        top = high * _SKEWED_ROOM
    if high <= 0 and low < _SKEWED * column.middle < 0:
        bottom = low * _SKEWED_ROOM
    return outward(max(0.0, bottom) if low >= 0 else bottom, min(0.0, top) if high <= 0 else top)


def outward(low: float, high: float) -> tuple[str, str]:
    """Rounds bounds outward, to the minimum of digits; the results are finite."""
    largest, smallest = sys.float_info.max, sys.float_info.min
    low, high = max(low, -largest), min(high, largest)
    # The width of the largest range overflows, and half of the smallest one is 0.
    width = min(max(high - low, smallest), largest)
    step = 10.0 ** math.floor(math.log10(width)) / 2
    bottom = max(math.floor(low / step) * step, -largest)
    top = min(math.ceil(high / step) * step, largest)
    # Rounding to the step's digits removes the error of binary fractions, and keeps the values inside.
    return as_number(min(float(f"{bottom:.12g}"), low)), as_number(max(float(f"{top:.12g}"), high))


def as_number(value: float) -> str:
    """A number in the minimum of digits: 10, not 10.0."""
    return repr(value + 0.0).removesuffix(".0")
