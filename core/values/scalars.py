"""Text of a Python value from JSON or Avro; `columns` has the same rules for Arrow columns."""

from __future__ import annotations

import math
from decimal import Decimal

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
