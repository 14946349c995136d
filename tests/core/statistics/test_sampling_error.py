"""Distances without their sampling error: exact values, scipy as the oracle, and how often chance alone is an alarm."""

import math

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import jensenshannon

from headrace.core.statistics.sampling_error import (
    SIGNIFICANCE,
    bounded_divergence,
    chi_squared_quantile,
    divergence,
    greatest_difference,
    increase,
)


def test_the_divergence_is_that_of_scipy() -> None:
    p, q = np.array([0.1, 0.4, 0.5, 0.0]), np.array([0.2, 0.2, 0.2, 0.4])
    found = divergence(p, q, 1000, 4000)
    assert found.measured == pytest.approx(jensenshannon(p, q, 2) ** 2, rel=1e-12)
    # Three degrees of freedom.
    scale = (1 / 1000 + 1 / 4000) / (8 * math.log(2))
    assert found.expected == pytest.approx(3 * scale, rel=1e-12)
    assert found.critical == pytest.approx(scipy.stats.chi2.ppf(1 - SIGNIFICANCE, 3) * scale, rel=0.02)
    assert found.value == found.measured - found.expected
    assert found.significant
    assert found.above(0.1)
    assert not found.above(0.9)


def test_equal_samples_are_not_apart_and_disjoint_ones_are_one_bit_apart() -> None:
    p = np.array([0.25, 0.25, 0.5])
    assert divergence(p, p, 100, 100).value == 0.0
    assert not divergence(p, p, 100, 100).above(0.0)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1e6, 1e6).measured == 1.0


def test_cells_are_put_together_until_ten_values_are_expected() -> None:
    p = np.full(20, 0.05)
    # Of 60 values a cell is expected to hold three: four of them are one.
    shuffled = np.where(np.arange(20) % 2, 0.1, 0.0)
    assert divergence(shuffled, p, 60, math.inf).measured == pytest.approx(0.0, abs=1e-12)
    assert divergence(shuffled, p, 60, math.inf).expected == pytest.approx(4 / 60 / (8 * math.log(2)))
    assert divergence(shuffled, p, 3000, math.inf).significant
    halves = np.repeat([0.1, 0.0], 10)
    assert divergence(halves, p, 60, math.inf).measured == pytest.approx(
        jensenshannon([0.4, 0.4, 0.2, 0, 0], [0.2] * 5, 2) ** 2
    )
    # The last ones, of which fewer are expected, belong to those before.
    assert divergence(shuffled, p, 30, math.inf).expected == pytest.approx(1 / 30 / (8 * math.log(2)))


def test_rare_categories_are_put_together() -> None:
    p = np.array([0.001, 0.5, 0.001, 0.498])
    q = np.array([0.002, 0.5, 0.0, 0.498])
    assert divergence(q, p, 1000, math.inf, ordered=False).measured == 0.0
    assert divergence(q, p, 100_000, math.inf, ordered=False).measured > 0.0


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 20, 41, 1000])
@pytest.mark.parametrize("probability", [0.9, 0.95, 0.99, 0.999])
def test_quantiles_of_chi_squared_are_within_two_percent_of_scipy(degrees: int, probability: float) -> None:
    exact = scipy.stats.chi2.ppf(probability, degrees)
    assert chi_squared_quantile(degrees, probability) == pytest.approx(exact, rel=0.02)


def test_one_cell_has_no_degree_of_freedom() -> None:
    assert chi_squared_quantile(0, 0.999) == 0.0
    assert divergence(np.array([1.0]), np.array([1.0]), 10, 10).critical == 0.0


def test_a_divergence_within_bounds_is_that_of_the_widest_split() -> None:
    first, low, high = np.array([0.1, 0.5, 0.9]), np.array([0.1, 0.6, 0.6]), np.array([0.2, 0.7, 0.8])
    found = bounded_divergence(first, low, high, 1000, 1000)
    splits = [jensenshannon([a, 1 - a], [b, 1 - b], 2) ** 2 for a, b in ((0.5, 0.6), (0.9, 0.8))]
    assert found.measured == pytest.approx(max(splits), rel=1e-12)
    scale = 2 / 1000 / (8 * math.log(2))
    assert found.critical == pytest.approx(scipy.stats.chi2.ppf(1 - SIGNIFICANCE / 3, 1) * scale, rel=1e-6)
    within = bounded_divergence(first, first, first, 1000, 1000)
    assert within.measured == 0.0
    assert not within.above(0.0)


def test_the_greatest_difference_is_the_statistic_of_kolmogorov_and_smirnov() -> None:
    random = np.random.default_rng(1)
    first, second = random.integers(0, 10, 400), random.integers(0, 12, 900)
    places = np.arange(12)
    functions = [(each[:, None] <= places).mean(axis=0) for each in (first, second)]
    found = greatest_difference(functions[0], functions[1], 400, 900)
    assert found.measured == pytest.approx(scipy.stats.ks_2samp(first, second).statistic, rel=1e-12)
    # P(sqrt(nm / (n + m)) D > x) tends to 2 exp(-2 x^2) for large x.
    assert found.critical == pytest.approx(
        scipy.stats.kstwobign.ppf(1 - SIGNIFICANCE) * math.sqrt(1 / 400 + 1 / 900), rel=1e-4
    )


def test_an_increase_is_the_two_proportion_z_test() -> None:
    found = increase(30, 1000, 50, 5000)
    assert found.measured == pytest.approx(0.02)
    p = 80 / 6000
    error = math.sqrt(p * (1 - p) * (1 / 1000 + 1 / 5000))
    assert found.critical == pytest.approx(scipy.stats.norm.ppf(0.999) * error, rel=1e-9)
    assert found.significant
    assert not increase(1, 100, 50, 5000).significant
    # What never occurs is no chance.
    assert increase(1, 100, 0, math.inf).above(0.0)
    assert not increase(0, 100, 0, math.inf).above(0.0)


def test_the_expected_divergence_is_the_mean_of_samples_of_one_distribution() -> None:
    random = np.random.default_rng(7)
    p = np.array([0.05, 0.1, 0.15, 0.3, 0.4])
    found = [
        divergence(random.multinomial(500, p) / 500, random.multinomial(2000, p) / 2000, 500, 2000) for _ in range(2000)
    ]
    mean = float(np.mean([each.measured for each in found]))
    assert mean == pytest.approx(found[0].expected, rel=0.05)
    spread = float(np.mean([each.measured > each.critical for each in found]))
    assert spread <= 4 * SIGNIFICANCE
