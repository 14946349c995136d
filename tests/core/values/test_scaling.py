"""Powers of two that make numbers of any size fit float32: exact, and the same in numpy and by two factors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.values.scaling import factors, maximum, scaled, unscaled, unscaled_number

EXPONENTS = st.integers(-1020, 1024)


@given(st.floats(-1, 1, width=32).filter(lambda v: 1e-3 < abs(v) < 1), EXPONENTS)
def test_stored_numbers_come_back_bit_by_bit(value: float, exponent: int) -> None:
    own = unscaled(np.array([value], np.float32), exponent)
    assert scaled(own, exponent).tolist() == [value]
    assert unscaled_number(value, exponent) == own[0]
    first, second = factors(exponent)
    assert value * first * second == own[0]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_scaling_is_exact_but_for_rounding_to_float32(value: float) -> None:
    exponent = int(np.frexp(value)[1])
    stored = scaled([value], exponent)
    assert abs(float(stored[0])) <= 1
    assert stored[0] == np.float32(np.frexp(value)[0])


def test_the_largest_number() -> None:
    assert maximum(0) == float(np.finfo(np.float32).max)
    assert maximum(1000) == float(np.finfo(np.float64).max)
    assert maximum(-1000) == float(np.finfo(np.float32).max) * 2.0**-1000
    assert unscaled(np.array([np.inf, np.nan]), 0)[0] == np.inf
