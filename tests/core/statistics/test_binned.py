"""Cells of a reference: exact counts, any split merges to the same, chance is no drift, and a shift is found."""

import functools
import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.statistics import binned
from headrace.core.statistics.binned import Bins, CategoryCounts, NumberCounts
from headrace.core.statistics.measure import NumericStatistics
from headrace.core.statistics.sampling_error import SIGNIFICANCE

NORMAL = np.random.default_rng(0).normal(50, 10, 20_000).astype(np.float32)


def counted(bins: Bins, values: Any) -> NumberCounts:
    numbers = np.asarray(values, np.float32)
    return NumberCounts(bins.count(numbers), 0, 0, float(numbers.min()), float(numbers.max()))


def entry(values: Any) -> NumericStatistics:
    return NumericStatistics.measure(pa.array(np.asarray(values, np.float32)))


def of_statistics(values: Any) -> Bins:
    plain = entry(values).to_json()
    return Bins.of_quantiles(plain["quantiles"], plain["count"])


def of_sketch(values: Any) -> Bins:
    measured = entry(values)
    return Bins.of_sketch(measured.sketch, measured.count)


def test_a_cell_is_an_edge_or_what_lies_between_two() -> None:
    bins = Bins.fixed([0.0, 1.0])
    assert bins.count(np.array([-1, 0, -0.0, 0.5, 1, 2, 3], np.float32)).tolist() == [1, 2, 1, 1, 2]
    # 0.1 of a request is the float32 of the training data.
    tenth = Bins.fixed([0.1])
    assert tenth.count(np.array([0.1], np.float32)).tolist() == [0, 1, 0]


def test_the_reference_of_an_exact_sketch_is_exact() -> None:
    bins = of_sketch([1] * 50 + [2] * 30 + [3] * 20)
    assert bins.edges.tolist() == [1, 2, 3]
    assert bins.low.tolist() == pytest.approx([0, 0.5, 0.5, 0.8, 0.8, 1])
    assert bins.low.tolist() == bins.high.tolist()


def test_the_reference_of_a_digest_is_within_its_error() -> None:
    zeros = np.concatenate([np.zeros(10_000, np.float32), NORMAL])
    bins = of_sketch(zeros)
    assert 0.0 in bins.edges
    assert (bins.low == bins.high).all()
    below = [(zeros < edge).mean() for edge in bins.edges]
    up_to = [(zeros <= edge).mean() for edge in bins.edges]
    assert bins.low[::2] == pytest.approx(np.array(below), abs=0.005)
    assert bins.low[1::2] == pytest.approx(np.array(up_to), abs=0.005)


def test_numbers_that_repeat_are_known_from_quantiles_within_bounds() -> None:
    values = np.repeat([1, 2, 3], [48, 32, 20])
    bins = of_statistics(values)
    edges = bins.edges
    function = np.stack([[(values < e).mean() for e in edges], [(values <= e).mean() for e in edges]], axis=1).ravel()
    assert (bins.low <= function + 1e-12).all()
    assert (bins.high >= function - 1e-12).all()
    assert binned.number_divergence(counted(bins, values), bins).measured == 0.0
    assert binned.number_divergence(counted(bins, np.repeat([1, 2, 3], [20, 32, 480])), bins).above(0.1)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_any_split_of_numbers_merges_to_the_same(values: list[int], cuts: list[int]) -> None:
    bins = Bins.fixed([-2, 0, 0.5, 3])
    places = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    parts = [counted(bins, values[a:b]) for a, b in itertools.pairwise(places)]
    for order in (parts, parts[::-1]):
        merged = functools.reduce(lambda a, b: a.merge(b), order)
        assert binned.to_json(merged) == binned.to_json(counted(bins, values))
    assert merged.count == len(values)


@given(st.lists(st.integers(0, 150), max_size=400), st.integers(0, 400))
def test_any_split_of_new_categories_names_the_same(values: list[int], cut: int) -> None:
    def of(some: list[int]) -> CategoryCounts:
        new: dict[str, int] = {}
        for value in some:
            new[f"c{value}"] = new.get(f"c{value}", 0) + 1
        return CategoryCounts(np.array([0, 0, len(some)]), new=binned.named(new))

    whole, parts = of(values), (of(values[:cut]), of(values[cut:]))
    assert binned.to_json(parts[0].merge(parts[1])) == binned.to_json(whole)
    assert binned.to_json(parts[1].merge(parts[0])) == binned.to_json(whole)
    assert len(whole.new) == min(len(set(values)), binned.NEW_NAMED)
    assert all(rows == values.count(int(text[1:])) for text, rows in whole.new.items())


SHAPES = {
    "normal": lambda random, rows: random.normal(50, 10, rows),
    "hours": lambda random, rows: random.integers(0, 24, rows),
    "amounts": lambda random, rows: np.where(random.random(rows) < 0.3, 0, random.lognormal(3, 1, rows)),
}


@pytest.mark.parametrize("reference", [of_statistics, of_sketch])
@pytest.mark.parametrize("shape", SHAPES)
def test_chance_is_no_drift_in_200_trials(shape: str, reference: Any) -> None:
    random = np.random.default_rng(3)
    bins = reference(SHAPES[shape](random, 20_000))
    found = [
        binned.number_divergence(counted(bins, SHAPES[shape](random, int(random.integers(50, 3000)))), bins)
        for _ in range(200)
    ]
    # SIGNIFICANCE of 200 is a fifth of one; three or more would be so by chance once in a thousand.
    assert sum(each.above(0.0) for each in found) <= 2, SIGNIFICANCE
    assert float(np.mean([each.value for each in found])) < 0.004


def test_categories_by_chance_are_no_drift_in_200_trials() -> None:
    random = np.random.default_rng(11)
    p = 1 / np.arange(1, 501)
    p /= p.sum()
    before = random.multinomial(20_000, p)
    found = [
        binned.counts_divergence(random.multinomial(int(random.integers(50, 3000)), p), before, ordered=False)
        for _ in range(200)
    ]
    assert sum(each.above(0.0) for each in found) <= 2
    assert float(np.mean([each.value for each in found])) < 0.006
    # The most frequent one takes the place of the others.
    other = random.multinomial(1000, np.concatenate([[0.9], np.full(499, 0.1 / 499)]))
    assert binned.counts_divergence(other, before, ordered=False).above(0.2)


def test_few_rows_are_compared_in_few_cells() -> None:
    bins = of_sketch(NORMAL)
    assert binned.number_divergence(counted(bins, np.full(30, 90.0)), bins).above(0.15)
    assert binned.number_divergence(counted(bins, np.full(60, 50.0)), bins).above(0.3)
    assert binned.number_divergence(counted(bins, [50.0]), bins).value == 0.0


@pytest.mark.parametrize("reference", [of_statistics, of_sketch])
def test_a_shift_is_found_with_the_size_that_it_has(reference: Any) -> None:
    random = np.random.default_rng(5)
    bins = reference(NORMAL)
    sizes = []
    for rows in (200, 2000, 200_000):
        found = binned.number_divergence(counted(bins, random.normal(60, 10, rows)), bins)
        assert found.above(0.1)
        sizes.append(found.value)
    # Without its sampling error the distance does not depend on how many rows there are.
    assert sizes == pytest.approx([sizes[-1]] * 3, abs=0.04)


def test_the_difference_of_numbers_is_below_that_of_scipy_by_a_cell_at_most() -> None:
    random = np.random.default_rng(6)
    bins = of_sketch(NORMAL)
    live = random.normal(53, 10, 5000).astype(np.float32)
    exact = scipy.stats.ks_2samp(live, NORMAL).statistic
    found = binned.number_difference(counted(bins, live), bins)
    assert exact - 0.05 <= found.measured <= exact + 0.005
    assert found.significant


def test_windows_in_the_same_cells_are_compared_with_each_other() -> None:
    bins, random = of_sketch(NORMAL), np.random.default_rng(8)
    first, same, shifted = (counted(bins, random.normal(mean, 10, 5000)) for mean in (50, 50, 58))
    assert not binned.counts_divergence(first.cells, same.cells, ordered=True).above(0.0)
    assert binned.counts_divergence(first.cells, shifted.cells, ordered=True).above(0.05)


def test_earlier_counts_are_a_reference() -> None:
    bins = of_sketch(NORMAL)
    again = Bins.of_counts(bins.edges.tolist(), counted(bins, NORMAL).cells)
    assert again.rows == len(NORMAL)
    assert (again.edges == bins.edges).all()
    assert binned.number_divergence(counted(again, NORMAL), again).measured == pytest.approx(0.0, abs=1e-12)


def test_quantiles_are_interpolated_within_cells() -> None:
    bins = of_sketch(NORMAL)
    found = binned.quantiles_of(counted(bins, NORMAL), bins, [0.0, 0.05, 0.5, 0.95, 1.0])
    assert found == pytest.approx(np.quantile(NORMAL, [0, 0.05, 0.5, 0.95, 1]).tolist(), abs=0.2)
    empty = NumberCounts(np.zeros(bins.cells, np.int64))
    assert binned.quantiles_of(empty, bins, [0.5]) == []
    whole = counted(Bins.fixed([1, 2, 3]), [1, 1, 2, 3])
    assert binned.quantiles_of(whole, Bins.fixed([1, 2, 3]), [0.25, 0.75, 1.0]) == [1.0, 2.0, 3.0]
