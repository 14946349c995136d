"""Ranges of dtypes against exact arithmetic and the roundings of numpy and TensorFlow."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.saved_model.interface import FLOATS, INTEGERS
from headrace.core.saved_model.json.ranges import first_outside
from headrace.core.saved_model.json.tensors import TensorInput

EDGES = [
    sign * 2**bits + more for bits in (7, 8, 15, 16, 31, 32, 53, 63, 64) for sign in (-1, 1) for more in (-1, 0, 1)
]
BOUNDS = [2**16 - 2**4, 2**128 - 2**119, 2**128 - 2**119 - 2**103, 2**128 - 2**103, 2**1024 - 2**970, 10**400]
INTS = st.integers() | st.sampled_from(EDGES) | st.sampled_from(BOUNDS).flatmap(lambda n: st.integers(n - 2, n + 2))
NUMBERS = (
    INTS
    | INTS.map(lambda n: -n)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([float(n + more) for n in (*EDGES, *BOUNDS[:4]) for more in (0, 0.5)])
    | st.sampled_from([math.nextafter(float(n), 0) for n in BOUNDS[:4]])
)


@given(st.sampled_from(INTEGERS), st.lists(NUMBERS, min_size=1, max_size=4))
def test_integers_hold_the_whole_numbers_of_their_bits(dtype: str, values: list[Any]) -> None:
    info = np.iinfo(dtype)
    exact = [Fraction(value) for value in values]
    held = [each.denominator == 1 and int(info.min) <= each <= int(info.max) for each in exact]
    assert first_outside(values, dtype) == (None if all(held) else held.index(False))
    if all(held):
        assert TensorInput("x", "numeric", dtype=dtype).read(values, str).tolist() == exact
    else:
        with pytest.raises(DataError, match=f"^{held.index(False)}: it is no {dtype}. Expected a whole number between"):
            TensorInput("x", "numeric", dtype=dtype).read(values, str)


@given(st.sampled_from(FLOATS), st.lists(NUMBERS, min_size=1, max_size=4))
def test_floats_hold_what_rounding_leaves_finite(dtype: str, values: list[Any]) -> None:
    def finite(value: Any) -> bool:
        try:
            wide = np.float64(float(value))
        except OverflowError:
            return False
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float32).astype(ml_dtypes.bfloat16) if dtype == "bfloat16" else wide.astype(dtype)
            return bool(np.isfinite(narrow.astype(np.float64)))

    held = [finite(value) for value in values]
    assert first_outside(values, dtype) == (None if all(held) else held.index(False))
    given = TensorInput("x", "numeric", dtype=dtype)
    if all(held):
        assert np.isfinite(given.read(values, str)).all()
    else:
        with pytest.raises(
            DataError, match=f"^{held.index(False)}: the number is too big. Expected a number of at most"
        ):
            given.read(values, str)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("bool", [True, False, 0, 1, 1.0, -0.0, None], [2, -1, 0.5, "true", [True], {}]),
        ("string", ["", "a", {"b64": "YQ=="}, None], [1, 1.5, True, ["a"]]),
        ("int8", [-128, 127, 2.0, None], [128, 300, -129, 1.5, True, "1", [1], {}, math.inf]),
        ("uint64", [0, 2**64 - 1, float(2**63)], [-1, 2**64, float(2**64), 10**400]),
        ("float32", [3.4028235e38, -(10**38), math.nan, None], [3.4028236e38, 10**39, math.inf, True, "1", [1.0]]),
        ("float64", [1.7976931348623157e308, 10**308], [10**309, -math.inf]),
    ],
)
def test_values_of_every_kind(dtype: str, good: list[Any], bad: list[Any]) -> None:
    assert first_outside(good, dtype) is None
    assert first_outside([], dtype) is None
    for value in bad:
        assert first_outside([value], dtype) == 0
        assert first_outside([*good, value, *good], dtype) == len(good)


def test_a_missing_number_hides_none_that_is_too_big() -> None:
    assert first_outside([math.nan, 1e39], "float32") == 1
    assert first_outside([1.0, math.nan, -1e39], "float32") == 2
