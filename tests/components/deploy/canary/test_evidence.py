"""Canary evidence: counts that check themselves, paired differences, and JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.canaries import step, traffic

from headrace.components.deploy.canary.evidence import (
    DIFFERENCE_POINTS,
    LATENCY_BUCKETS,
    LATENCY_EDGES,
    Differences,
    Evidence,
    Replay,
    Step,
    VersionTraffic,
    latency_bucket,
)
from headrace.core.errors import DataError, UsageError


def test_the_latency_buckets_are_ten_per_decade_and_include_their_upper_edge() -> None:
    assert (len(LATENCY_EDGES), LATENCY_BUCKETS) == (61, 62)
    assert LATENCY_EDGES[0] == pytest.approx(1e-4)
    assert LATENCY_EDGES[30] == pytest.approx(0.1)
    assert [latency_bucket(s) for s in (0.0, 1e-4, 1.1e-4, 100.0, 101.0)] == [0, 0, 1, 60, 61]


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
        lambda: VersionTraffic(5, 0, (1, 2)),
        lambda: VersionTraffic(5, 0, (6, *[0] * (LATENCY_BUCKETS - 1))),
        lambda: VersionTraffic(5, 0, (-1, *[0] * (LATENCY_BUCKETS - 1))),
        lambda: Step(1, 0),
        lambda: Step(1, 100),
        lambda: Step(0, 10),
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
    latency = (5, *[0] * (LATENCY_BUCKETS - 1))
    evidence = Evidence(step(traffic(9, 1), traffic(5, 0, latency)).steps, Replay(3, 1), Differences.of([0.123, -0.5]))
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
