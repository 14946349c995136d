"""Ranges of dtypes: which JSON values a dtype holds, so that none is wrapped or becomes infinite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.saved_model.interface import FLOATS, INTEGERS

# A float64 of this size or more becomes infinite: it lies half of the last place above the maximum. A bfloat16 is made
# of a float32, whose rounding comes first.
_INFINITE: Mapping[str, float] = {
    "float16": 2.0**16 - 2.0**4,
    "bfloat16": 2.0**128 - 2.0**119 - 2.0**103,
    "float32": 2.0**128 - 2.0**103,
    "float64": math.inf,
}
_MAXIMUM = {"float16": "65504", "bfloat16": "3.39e38", "float32": "3.4e38", "float64": "1.8e308"}


def _bounds(dtype: str) -> tuple[int, int]:
    bits = int(dtype.lstrip("uint"))
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_BOUNDS = {dtype: _bounds(dtype) for dtype in INTEGERS}


def first_outside(values: Sequence[Any], dtype: str) -> int | None:
    """The index of the first value that a dtype does not hold; None if there is none.

    Integers hold whole numbers, 2.0 too; floats all numbers that rounding does not make infinite; booleans also 0 and
    1; strings also objects, which may be bytes in base64. A null is a missing value, and is passed over.

    Args:
        values: JSON values.
        dtype: name of the dtype, one of `saved_model.interface.DTYPES`.
    """
    if _all_inside(values, dtype):
        return None
    return next((at for at, value in enumerate(values) if value is not None and not _inside(value, dtype)), None)


def expected(dtype: str) -> str:
    """The values that a dtype holds, for messages."""
    if dtype in FLOATS:
        return f"a number of at most {_MAXIMUM[dtype]}"
    if dtype in INTEGERS:
        return "a whole number between {} and {}".format(*_BOUNDS[dtype])
    return "true or false" if dtype == "bool" else 'a string, or {"b64": "..."} of bytes in base64'


def _all_inside(values: Sequence[Any], dtype: str) -> bool:
    """Whether all values are inside, by their types and extremes alone; False if that does not say it."""
    kinds = set(map(type, values))
    if dtype in ("bool", "string"):
        return kinds <= {bool if dtype == "bool" else str}
    if dtype in INTEGERS:
        low, high = _BOUNDS[dtype]
        return kinds == {int} and low <= min(values) and max(values) <= high
    # An integer may be rounded up to the bound, and one of 309 digits is no float64: half of it is far from both.
    plain = min(_INFINITE[dtype] / 2, 1e300)
    return bool(kinds) and kinds <= {int, float} and -plain < min(values) and max(values) < plain


def _inside(value: Any, dtype: str) -> bool:
    kind = type(value)
    if dtype == "string":
        return kind in (str, dict)
    if dtype == "bool":
        return kind is bool or (kind in (int, float) and value in (0, 1))
    if kind not in (int, float):
        return False
    if dtype in INTEGERS:
        low, high = _BOUNDS[dtype]
        return bool((kind is int or value.is_integer()) and low <= value <= high)
    try:
        # NaN, which no JSON has, is a missing value of a batch.
        return not abs(float(value)) >= _INFINITE[dtype]
    except OverflowError:
        return False
