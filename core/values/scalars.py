"""Text of a Python value from JSON or Avro; `columns` has the same rules for Arrow columns."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

# As `numbers` reads text: ASCII digits, and blanks around them.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BLANKS = " \t\n\v\f\r"
# Below this Python formats a fraction with an exponent: 0.0001, but 1e-05.
_SMALLEST_EXPONENT = -4


def text_of(value: bool | int | float | str | Decimal) -> str:
    """The text of a value, by the rules of the package: its category and its key. Infinity is "inf" or "-inf".

    Raises:
        TypeError: it is none of these types, or NaN, which is a missing value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and not math.isnan(value):
        # JSON has one type of numbers: some writers write 1 as 1.0.
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal) and value.is_finite():
        return _decimal_text(value)
    raise TypeError(f"a value of type {type(value).__name__} has no text")


def number_of(value: Any) -> float | None:
    """The number of a value, the nearest float64, infinite for one beyond all; None where it is missing.

    Raises:
        ValueError: it is not a finite number, or text that says one.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        text = value.strip(_BLANKS)
        if text and not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return float(text) if text else None
    if not isinstance(value, bool | int | float) or (isinstance(value, float) and math.isinf(value)):
        raise ValueError(str(type(value)))
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _decimal_text(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped:
        return "0"
    exponent += len(text) - len(stripped)
    minus = "-" if sign else ""
    if exponent >= 0:
        return minus + stripped + "0" * exponent
    adjusted = len(stripped) - 1 + exponent
    if adjusted < _SMALLEST_EXPONENT:
        fraction = f".{stripped[1:]}" if len(stripped) > 1 else ""
        return f"{minus}{stripped[0]}{fraction}e-{-adjusted:02d}"
    padded = stripped.rjust(1 - exponent, "0")
    return f"{minus}{padded[:exponent]}.{padded[exponent:]}"
