"""Faults: the rows of a column that break one rule, with reason and message."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.artifacts.quarantine import Reason
from headrace.core.values.scalars import text_of

Mask = npt.NDArray[np.bool_]

_SHOWN = 40
_LISTED = 10
# Larger numbers are shorter in exponent notation.
_WRITTEN_OUT = 1e16


@dataclass
class RuleViolation:
    """A rule that rows of a column broke.

    Attributes:
        column: its name, or None where the row as a whole is at fault.
        reason: one of quarantine's reasons.
        rows: mask of the rows that broke it, [rows].
        message: returns the message for a value as `shown` formats it.
        refuses: whether the rows get no prediction; otherwise they are only counted.
    """

    column: str | None
    reason: Reason
    rows: Mask
    message: Callable[[str], str]
    refuses: bool = True


def shown(value: Any) -> str:
    """Formats a value for a message, in at most 43 characters: text in quotes, numbers and booleans without."""
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, int) and abs(value) >= 1 << 128:
        # Python raises an error for integers of thousands of digits.
        text = "an integer of more than 38 digits"
    elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and abs(value) < _WRITTEN_OUT):
        text = text_of(value)
    else:
        text = _text(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "a value that is nested too deeply"


def listed(values: Sequence[str]) -> str:
    """The first ten values, and the number of the others."""
    more = len(values) - _LISTED
    return ", ".join(values[:_LISTED]) + (f" and {more} more" if more > 0 else "")
