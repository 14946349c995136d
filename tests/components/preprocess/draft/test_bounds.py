"""Bounds hold what was seen with room for more, are finite, round, and do not cross zero."""

from __future__ import annotations

import math
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.components.preprocess.draft.bounds import bounds, outward
from headrace.components.preprocess.draft.infer import InferredColumn
from headrace.core.problem import Numeric

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def of_numbers(low: float, high: float, middle: float | None = None) -> tuple[str, str]:
    middle = (low + high) / 2 if middle is None else middle
    return bounds(InferredColumn("x", "numeric", 9, 0, 9, False, low=low, high=high, middle=middle))


@given(FINITE, FINITE)
@example(0.0, 5e-324)
@example(-5e-324, 0.0)
@example(-sys.float_info.max, sys.float_info.max)
@example(1e308, sys.float_info.max)
@example(7.0, 7.0)
def test_bounds_hold_what_was_seen(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    bottom, top = (float(bound) for bound in of_numbers(low, high, low / 2 + high / 2))
    assert -math.inf < bottom <= low
    assert high <= top < math.inf
    assert bottom >= 0 or low < 0
    assert top <= 0 or high > 0
    if low < high:
        Numeric("x", minimum=bottom, maximum=top)


def test_bounds_that_a_reader_would_write() -> None:
    assert of_numbers(13, 43) == ("0", "75")
    assert of_numbers(-5, 5) == ("-15", "15")
    assert of_numbers(1000, 1100) == ("900", "1200")
    assert of_numbers(1, 5000, 10) == ("0", "50000")
    assert outward(0.12, 0.98) == ("0.1", "1")
