"""Boundaries of quantile buckets, from exact summaries of numbers, merged ones and sketches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.statistics.sketches import Quantiles


@given(
    st.lists(st.integers(-20, 20) | st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=80),
    st.integers(2, 12),
)
@max_examples(100)
def test_boundaries_make_buckets_that_are_not_empty_and_depend_on_no_order(values: list[float], buckets: int) -> None:
    numbers = np.array(values, np.float32).astype(np.float64)
    boundaries = Quantiles.of(numbers).boundaries(buckets)
    parts = Quantiles.of(numbers[::-1][: len(numbers) // 2]).merge(Quantiles.of(numbers[::-1][len(numbers) // 2 :]))
    assert parts.boundaries(buckets) == boundaries
    single = np.array(boundaries, np.float32)
    assert (np.diff(single) > 0).all()
    assert 1 <= len(boundaries) < buckets
    distinct = np.unique(numbers)
    if len(distinct) > 1:
        # No boundary is at the smallest number or above the largest one: both outer buckets have rows.
        assert distinct[0] < single[0]
        assert single[-1] <= distinct[-1]
    else:
        assert single.tolist() == distinct.tolist()


def test_boundaries_cut_into_equally_many_rows() -> None:
    assert Quantiles.of(np.arange(100.0)).boundaries(4) == [24.75, 49.5, 74.25]
    # Half of the rows are 0, so that three of the four buckets are one.
    assert Quantiles.of(np.array([0.0] * 50 + [1.0] * 25 + [2.0] * 25)).boundaries(4) == [0.5, 1.25]
    assert Quantiles.of(np.array([0.0] * 99 + [8.0])).boundaries(4) == [0.08]
    assert Quantiles.of(np.full(9, 0.1, np.float32).astype(np.float64)).boundaries(10) == [0.1]


def test_boundaries_of_many_numbers_are_within_the_error() -> None:
    numbers = np.random.default_rng(1).lognormal(size=50_000).astype(np.float32).astype(np.float64)
    sketch = Quantiles.of(numbers)
    assert sketch.error > 0
    counts = np.diff([0, *(np.sum(numbers < b) for b in sketch.boundaries(20)), len(numbers)])
    assert np.abs(counts / len(numbers) - 0.05).max() <= 2 * sketch.error
