"""Scaling: powers of two by which numbers outside float32's range are divided, exactly, to be stored as float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FLOAT32_MAXIMUM = float(np.finfo(np.float32).max)
_FLOAT64_MAXIMUM = float(np.finfo(np.float64).max)


def scaled(values: npt.ArrayLike, exponent: int) -> npt.NDArray[np.float32]:
    """Numbers in their own unit as stored: divided by 2 ** exponent and rounded to float32; infinite beyond it."""
    with np.errstate(over="ignore", under="ignore"):
        stored: npt.NDArray[np.float32] = np.ldexp(np.asarray(values, np.float64), -exponent).astype(np.float32)
    return stored


def unscaled(values: npt.NDArray[Any], exponent: int) -> npt.NDArray[np.float64]:
    """Stored numbers in their own unit, as float64: multiplied by 2 ** exponent; NaN stays NaN."""
    wide = np.asarray(values, np.float64)
    if not exponent:
        return wide
    with np.errstate(over="ignore", under="ignore"):
        wide = np.ldexp(wide, exponent)
    # A number near the maximum may have been rounded up to float32.
    own: npt.NDArray[np.float64] = np.clip(wide, -_FLOAT64_MAXIMUM, _FLOAT64_MAXIMUM)
    return own


def unscaled_number(value: float, exponent: int) -> float:
    """A stored number in its own unit."""
    return value if not exponent else float(unscaled(np.array(value), exponent))


def maximum(exponent: int) -> float:
    """The largest number that can be stored."""
    return unscaled_number(FLOAT32_MAXIMUM, exponent)


def factors(exponent: int) -> Sequence[float]:
    """Two factors whose product is 2 ** exponent, which may itself be outside float64's range."""
    half = exponent // 2
    return 2.0**half, 2.0 ** (exponent - half)
