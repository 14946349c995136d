"""Canary evidence: counts that check themselves, paired differences, and JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.canaries import traffic

from headrace.components.deploy.canary.evidence import (
    DIFFERENCE_POINTS,
    LATENCY_EDGES,
    CanaryStep,
    Differences,
    Evidence,
    Replay,
    VersionTraffic,
)
from headrace.core.errors import DataError, UsageError


def test_the_latency_edges_are_ten_per_decade() -> None:
    assert len(LATENCY_EDGES) == 61
    assert [LATENCY_EDGES[at] for at in (0, 30, 60)] == pytest.approx([1e-4, 0.1, 100.0])


def test_traffic_since_an_earlier_look_and_after_a_counter_began_anew() -> None:
    before, now = VersionTraffic(5, 1, (2, 3)), VersionTraffic(9, 1, (4, 5))
    assert now.since(before) == VersionTraffic(4, 0, (2, 2))
    assert VersionTraffic(9, 1, (), 3).since(VersionTraffic(5, 1, (), 1)) == VersionTraffic(4, 0, (), 2)
    assert VersionTraffic(9, 1, (), 3) + VersionTraffic(5, 1, (), 1) == VersionTraffic(14, 2, (), 4)
    assert now.since(VersionTraffic()) == now
    assert before.since(now) == before
    # More errors than new requests: another counter.
    assert VersionTraffic(9, 8).since(VersionTraffic(8, 1)) == VersionTraffic(9, 8)


def test_the_counts_of_a_step_replace_its_earlier_ones() -> None:
    evidence = (
        Evidence()
        .with_step(CanaryStep(3, 50))
        .with_step(CanaryStep(2, 10))
        .with_step(CanaryStep(3, 50, VersionTraffic(4)))
    )
    assert evidence.steps == (CanaryStep(2, 10), CanaryStep(3, 50, VersionTraffic(4)))


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=50))
def test_the_mean_of_differences_is_exact_and_bounded(values: list[float]) -> None:
    differences = Differences.of(values)
    assert differences.rows == len(values)
    expected = math.fsum(min(1.0, max(-1.0, value)) for value in values) / len(values)
    assert differences.mean == pytest.approx(expected, abs=1e-9)
    assert differences + Differences() == Differences() + differences == differences
    assert (differences + differences).rows == 2 * len(values)


def test_no_differences_have_mean_0() -> None:
    assert (Differences().rows, Differences().mean) == (0, 0.0)
    assert Replay(1, 1) + Replay(3, 0, 1, 1) == Replay(4, 1, 1, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VersionTraffic(requests=-1),
        lambda: VersionTraffic(requests=1, errors=2),
        lambda: VersionTraffic(requests=3, errors=2, refused=2),
        lambda: VersionTraffic(5, 0, (6, 0)),
        lambda: VersionTraffic(5, 0, (-1, 0)),
        lambda: Evidence((CanaryStep(1, 10, VersionTraffic(5, 0, (1, 2))),)),
        lambda: Evidence(edges=()),
        lambda: Evidence(edges=(2.0, 1.0)),
        lambda: Evidence(edges=(0.0, 1.0)),
        lambda: CanaryStep(1, 0),
        lambda: CanaryStep(1, 100),
        lambda: CanaryStep(0, 10),
        lambda: Replay(rows=1, differing=1, stable_only=1),
        lambda: Replay(rows=1, canary_only=-1),
        lambda: Differences((1.0,)),
        lambda: Differences((-1.0, *[0.0] * (DIFFERENCE_POINTS - 1))),
        lambda: Differences((math.nan, *[0.0] * (DIFFERENCE_POINTS - 1))),
        lambda: Differences.of([math.nan]),
    ],
)
def test_counts_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


def test_json_is_exact_and_damage_is_one_paragraph() -> None:
    step = CanaryStep(2, 10, traffic(9, 1), traffic(5, 0, (5, 0, 0)))
    evidence = Evidence((step,), Replay(3, 1), Differences.of([0.123, -0.5]), (0.5, 1.0))
    content = json.loads(json.dumps(evidence.to_json()))
    assert Evidence.from_json(content, "file") == evidence
    assert evidence.step(2) == evidence.steps[0]
    assert evidence.step(3) is None
    for damaged in (
        None,
        {},
        {**content, "format": 2},
        {**content, "replay": {"rows": -1}},
        {**content, "losses": [1]},
    ):
        with pytest.raises(DataError, match="the evidence of the canary is damaged"):
            Evidence.from_json(damaged, "file")
