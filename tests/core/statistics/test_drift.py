"""The distances are what their formulas say, are symmetric, and stay within 0 and 1 whatever was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.statistics.drift import jensen_shannon, l_infinity
from headrace.core.statistics.measure import TableStatistics


def categories(**counts: int) -> dict[str, Any]:
    column = pa.array([value for value, count in counts.items() for _ in range(count)], pa.string())
    return measured(column)


def numbers(values: Any) -> dict[str, Any]:
    return measured(pa.array(np.asarray(values, np.float64), pa.float32()))


def measured(column: pa.Array) -> dict[str, Any]:
    found: dict[str, Any] = TableStatistics.measure(pa.table({"c": column}), ["c"]).to_json()["columns"]["c"]
    return found


def test_the_formulas_by_hand() -> None:
    before, now = categories(a=50, b=50), categories(a=75, b=25)
    # M = (5/8, 3/8): KL(P||M) = log2(4/5) / 2 + log2(4/3) / 2, KL(Q||M) = 3/4 log2(6/5) + 1/4 log2(2/3).
    by_hand = (
        0.5 * np.log2(0.5 / 0.625) + 0.5 * np.log2(0.5 / 0.375)
        + 0.75 * np.log2(0.75 / 0.625) + 0.25 * np.log2(0.25 / 0.375)
    ) / 2  # fmt: skip
    assert jensen_shannon(before, now) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.04879494)
    assert l_infinity(before, now) == 0.25
    assert l_infinity(before, categories(c=3)) == 1.0
    assert jensen_shannon(before, categories(c=3)) == 1.0


def test_numbers_that_moved_by_half_their_range() -> None:
    before, now = numbers(np.linspace(0, 2, 2001)), numbers(np.linspace(1, 3, 2001))
    # A third is only here, a third only there: P is (1/2, 1/2, 0) and Q (0, 1/2, 1/2), and half of each is apart.
    assert jensen_shannon(before, now) == pytest.approx(0.5, abs=1e-3)
    assert jensen_shannon(numbers([1.0, 2.0]), numbers([3.0, 4.0])) == 1.0
    assert jensen_shannon(numbers([5.0] * 9), numbers([5.0] * 4)) == 0.0
    assert jensen_shannon(numbers([5.0] * 9), numbers([6.0])) == 1.0


def test_two_samples_of_one_distribution_are_close() -> None:
    random = np.random.default_rng(1)
    for draw in (
        lambda: random.normal(size=5000),
        lambda: random.poisson(6, 5000),
        lambda: random.exponential(size=5000),
    ):
        assert jensen_shannon(numbers(draw()), numbers(draw())) < 0.02
    assert jensen_shannon(numbers(random.normal(size=5000)), numbers(random.normal(1, 1, 5000))) > 0.1


def test_values_beyond_a_cut_vocabulary_are_one_cell() -> None:
    cut = {**categories(a=6, b=4), "count": 20}
    assert l_infinity(cut, categories(a=6, b=14)) == 0.5
    assert jensen_shannon(cut, cut) == 0.0


@pytest.mark.parametrize("distance", [jensen_shannon, l_infinity])
def test_what_cannot_be_compared(distance: Any) -> None:
    with pytest.raises(ValueError, match="both columns must be"):
        distance(numbers([1.0]), categories(a=1))
    with pytest.raises(ValueError, match="must have values"):
        distance(categories(), categories(a=1))
    with pytest.raises(ValueError, match="must be categorical"):
        l_infinity(numbers([1.0]), numbers([1.0]))


FLOATS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1)


@max_examples(80)
@given(FLOATS, FLOATS)
def test_of_numbers(one: list[float], other: list[float]) -> None:
    first, second = numbers(one), numbers(other)
    distance = jensen_shannon(first, second)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(jensen_shannon(second, first), abs=1e-12)
    assert jensen_shannon(first, first) == 0
    if max(one) < min(other):
        assert distance == pytest.approx(1)


@max_examples(80)
@given(COUNTS, COUNTS)
def test_of_categories(one: dict[str, int], other: dict[str, int]) -> None:
    first, second = categories(**one), categories(**other)
    divergence, greatest = jensen_shannon(first, second), l_infinity(first, second)
    assert 0 <= divergence <= 1
    assert 0 <= greatest <= 1
    assert divergence == pytest.approx(jensen_shannon(second, first), abs=1e-12)
    assert greatest == l_infinity(second, first)
    assert jensen_shannon(first, first) == l_infinity(first, first) == 0
    # The total variation is at most the square root of 2 ln 2 times the divergence, and the greatest change below it.
    assert greatest <= np.sqrt(2 * np.log(2) * divergence) + 1e-9
    if not set(one) & set(other):
        assert divergence == pytest.approx(1)
