"""E-values: exact numbers, and means of at most 1 by enumeration, without simulation."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.deploy.canary.e_values import (
    Counts,
    fraction_interval,
    log_e_attribution,
    log_e_excess,
    log_e_fraction,
    log_e_mean,
    log_mean,
    mean_interval,
)
from headrace.components.deploy.canary.evidence import Differences

_COUNTS = st.integers(0, 10_000)


def test_no_requests_are_no_evidence() -> None:
    assert log_e_attribution([]) == 0
    assert log_e_attribution([Counts(10, 0, 0, 0, 0)]) == 0
    assert log_e_fraction(0, 0, 0.5) == pytest.approx(0)
    assert log_e_mean(Differences(), 0.0) == pytest.approx(0)
    assert log_mean([(0.25, 0.0), (0.75, 0.0)]) == pytest.approx(0)
    assert log_mean([(0.5, -math.inf), (0.5, math.log(8))]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_the_mean_over_all_sequences_of_alike_requests_is_at_most_1(rate: float, share: float) -> None:
    # All 4 ** 5 sequences of 5 requests, each of one version, each failed or not, by their probability.
    mean = slack_mean = 0.0
    for sequence in itertools.product(itertools.product((True, False), (True, False)), repeat=5):
        probability = math.prod(
            (share if of_canary else 1 - share) * (rate if failed else 1 - rate) for of_canary, failed in sequence
        )
        canary = sum(failed for of_canary, failed in sequence if of_canary)
        stable = sum(failed for of_canary, failed in sequence if not of_canary)
        requests = sum(of_canary for of_canary, _ in sequence)
        counts = [Counts(50, canary, requests, stable, 5 - requests)]
        mean += probability * math.exp(log_e_attribution(counts))
        slack_mean += probability * math.exp(log_e_excess(counts, 0.02))
    assert 0.1 < mean <= 1
    assert slack_mean <= 1


@pytest.mark.parametrize("limit", [0.1, 0.5])
def test_the_mean_at_the_limit_of_a_fraction_is_exactly_1(limit: float) -> None:
    total = sum(
        math.comb(12, events)
        * limit**events
        * (1 - limit) ** (12 - events)
        * math.exp(log_e_fraction(events, 12, limit))
        for events in range(13)
    )
    assert total == pytest.approx(1)


def test_the_mean_of_bets_on_differences_without_a_mean_is_at_most_1() -> None:
    # -0.5, 0 and 1 have mean 0 with probabilities 0.4, 0.4 and 0.2; 0.333 lies between two points.
    for values in ({-0.5: 0.4, 0.0: 0.4, 1.0: 0.2}, {-0.333: 0.5, 0.333: 0.5}):
        mean = sum(
            math.prod(values[value] for value in drawn) * math.exp(log_e_mean(Differences.of(drawn), 0.0))
            for drawn in itertools.product(values, repeat=4)
        )
        assert 0.9 < mean <= 1 + 1e-12


def test_the_intervals_in_numbers() -> None:
    assert mean_interval(Differences(), 0.01) == (-1.0, 1.0)
    assert mean_interval(Differences.of([0.5] * 100), 0.01) == pytest.approx((0.38535, 0.53822), abs=1e-5)
    assert mean_interval(Differences.of([-1.0] * 50), 0.01) == pytest.approx((-1.0, -0.70652), abs=1e-5)
    assert fraction_interval(0, 0, 0.01) == (0.0, 1.0)
    assert fraction_interval(100, 1_000, 0.01) == pytest.approx((0.06615, 0.14100), abs=1e-5)
    assert fraction_interval(0, 1_000, 0.01) == pytest.approx((0.0, 0.00721), abs=1e-5)


@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(0.001, 0.5))
def test_an_interval_has_the_limits_that_are_not_rejected(values: list[float], alpha: float) -> None:
    differences, needed = Differences.of(values), math.log(2 / alpha)
    low, high = mean_interval(differences, alpha)
    assert -1 <= low <= differences.mean <= high <= 1
    if low > -1:
        assert log_e_mean(differences, low) >= needed
        assert log_e_mean(differences, low - (low + 1) / 2) >= needed
    assert log_e_mean(differences, low + 1e-5) < needed
    # Mirrored values have the mirrored interval.
    assert mean_interval(Differences.of([-value for value in values]), alpha) == pytest.approx((-high, -low), abs=1e-5)
    wider = mean_interval(differences, alpha / 2)
    assert wider[0] <= low <= high <= wider[1]


@pytest.mark.parametrize(
    ("values", "mean"),
    [({-1.0: 0.5, 1.0: 0.5}, 0.0), ({-0.5: 0.2, 0.25: 0.8}, 0.1), ({0.0: 0.9, 1.0: 0.1}, 0.1)],
)
def test_an_interval_that_is_read_after_every_row_is_ever_wrong_at_most_as_often_as_stated(
    values: dict[float, float], mean: float
) -> None:
    # All sequences of 10 rows, by the numbers of the two values among the first rows, which is all that counts.
    alpha, (one, other) = 0.4, values
    wrong = 0.0
    right = {(0, 0): 1.0}
    for _ in range(10):
        after: dict[tuple[int, int], float] = {}
        for (ones, others), probability in right.items():
            for drawn, more in (((ones + 1, others), values[one]), ((ones, others + 1), values[other])):
                after[drawn] = after.get(drawn, 0.0) + probability * more
        right = {}
        for (ones, others), probability in after.items():
            low, high = mean_interval(Differences.of([one] * ones + [other] * others), alpha)
            if low <= mean <= high:
                right[ones, others] = probability
            else:
                wrong += probability
    assert wrong + sum(right.values()) == pytest.approx(1)
    assert 0 < wrong <= alpha


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_an_interval_of_a_fraction_is_ever_wrong_at_most_as_often_as_stated(fraction: float) -> None:
    alpha, wrong, right = 0.4, 0.0, {0: 1.0}
    for rows in range(1, 41):
        after: dict[int, float] = {}
        for events, probability in right.items():
            after[events] = after.get(events, 0.0) + probability * (1 - fraction)
            after[events + 1] = after.get(events + 1, 0.0) + probability * fraction
        right = {}
        for events, probability in after.items():
            low, high = fraction_interval(events, rows, alpha)
            if low <= fraction <= high:
                right[events] = probability
            else:
                wrong += probability
    assert 0 < wrong <= alpha


@given(_COUNTS, _COUNTS, _COUNTS, _COUNTS, st.integers(1, 99), st.floats(0, 0.5))
def test_evidence_is_finite_and_none_where_the_canary_is_no_worse(
    canary: int, others: int, stable: int, stable_others: int, percent: int, slack: float
) -> None:
    counts = [Counts(percent, canary, canary + others, stable, stable + stable_others)]
    attributed, excess = log_e_attribution(counts), log_e_excess(counts, slack)
    assert math.isfinite(attributed)
    assert excess < math.inf
    if canary * stable_others <= stable * others:
        assert attributed <= 1e-9
    requests, stable_requests = counts[0].canary_requests, counts[0].stable_requests
    if requests and stable_requests and canary / requests <= stable / stable_requests + slack:
        assert excess <= 1e-9


def test_more_errors_are_more_evidence() -> None:
    values = [log_e_attribution([Counts(10, errors, 2_000, 90, 18_000)]) for errors in range(10, 100, 10)]
    assert values == sorted(values)
    assert values[0] < 0
    assert values[3] > math.log(100)


def test_an_unlike_split_by_keys_is_no_evidence() -> None:
    # The canary's 10 % of the keys make 25 % of the requests, and of the errors.
    assert log_e_attribution([Counts(10, 50, 5_000, 150, 15_000)]) < 0
    assert log_e_attribution([Counts(10, 150, 5_000, 100, 15_000)]) > math.log(100)
