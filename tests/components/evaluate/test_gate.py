"""The gate: its truth table, its sentences, and what must hold of any decision."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.evaluate.gate import (
    UNGATED,
    ConstantBaseline,
    GateCheck,
    GateDecision,
    ModelMetrics,
    SliceMetrics,
    judge,
)
from headrace.core.problem import METRICS, Gate

RMSE = "root_mean_squared_error"


def of(value: float | None, *slices: tuple[str, int, float | None], metric: str = RMSE) -> ModelMetrics:
    """Measurements of all rows, and of values of `plurality`."""
    return ModelMetrics({metric: value}, tuple(SliceMetrics("plurality", v, n, {metric: m}) for v, n, m in slices))


def verdicts(decision: GateDecision) -> list[tuple[str, bool | None]]:
    return [(check.where, check.passed) for check in decision.checks]


@pytest.mark.parametrize(
    ("bounds", "value", "passed"),
    [
        ({"at_most": 1.2}, 1.1, True),
        ({"at_most": 1.2}, 1.2, True),
        ({"at_most": 1.2}, math.nextafter(1.2, 2), False),
        ({"at_least": 0.8}, 0.9, True),
        ({"at_least": 0.8}, 0.8, True),
        ({"at_least": 0.8}, 0.7, False),
        ({"at_least": -0.1, "at_most": 0.1}, 0.05, True),
        ({"at_least": -0.1, "at_most": 0.1}, -0.2, False),
        ({"at_least": -0.1, "at_most": 0.1}, 0.2, False),
        ({"at_most": 1.2}, None, False),
        ({"at_most": 1.2}, math.nan, False),
        ({"at_least": 0.8}, math.inf, False),
    ],
)
def test_absolute_bounds_on_all_rows(bounds: dict[str, Any], value: float | None, passed: bool) -> None:
    decision = judge(Gate(RMSE, **bounds), of(value))
    assert decision.blessed is passed
    assert len(decision.checks) == len(bounds) == len(decision.reasons)


@pytest.mark.parametrize(
    ("metric", "tolerance", "value", "champion", "passed"),
    [
        (RMSE, 0.0, 1.0, 1.0, True),
        (RMSE, 0.0, 1.01, 1.0, False),
        (RMSE, 0.05, 1.04, 1.0, True),
        (RMSE, 0.05, 1.06, 1.0, False),
        ("auc", 0.0, 0.8, 0.8, True),
        ("auc", 0.0, 0.79, 0.8, False),
        ("auc", 0.05, 0.77, 0.8, True),
        ("auc", 0.05, 0.75, 0.8, False),
        ("auc", 0.05, 0.95, 0.8, True),
        # Worse than a negative champion is farther below zero.
        ("r_squared", 0.1, -0.54, -0.5, True),
        ("r_squared", 0.1, -0.56, -0.5, False),
        # A bias has two directions, and nearer to zero is better in both.
        ("mean_bias", 0.1, -0.05, 0.1, True),
        ("mean_bias", 0.1, -0.12, 0.1, False),
        ("mean_bias", 0.1, 0.1, -0.1, True),
        ("mean_bias", 0.1, -5.0, -0.1, False),
        (RMSE, 0.1, None, 1.0, False),
        (RMSE, 0.1, 1.0, None, None),
    ],
)
def test_against_the_champion(
    metric: str, tolerance: float, value: float | None, champion: float | None, passed: bool | None
) -> None:
    gate = Gate(metric, champion_tolerance=tolerance)
    decision = judge(gate, of(value, metric=metric), of(champion, metric=metric))
    assert [check.passed for check in decision.checks] == [passed]
    assert decision.blessed is (passed is not False)


def test_without_a_champion_nothing_is_worse() -> None:
    gate = Gate(RMSE, at_most=1.2, champion_tolerance=0.1, slices=["plurality"])
    decision = judge(gate, of(1.0, ("single", 100, 1.0)))
    assert decision.blessed
    assert verdicts(decision) == [("all rows", True), ("all rows", None), ("plurality=single", True)]
    assert decision.reasons[1] == "root_mean_squared_error on all rows is not compared: no champion exists."


def test_slices() -> None:
    gate = Gate(RMSE, at_most=1.2, slices=["plurality"], minimum_slice_size=20)
    decision = judge(gate, of(1.0, ("single", 100, 1.1), ("twins", 20, 1.5), ("triplets", 19, 9.0), ("more", 30, None)))
    assert not decision.blessed
    assert verdicts(decision) == [
        ("all rows", True),
        ("plurality=single", True),
        ("plurality=twins", False),
        ("plurality=triplets", None),
        ("plurality=more", None),
    ]


def test_slices_that_the_gate_does_not_name_are_not_judged() -> None:
    assert verdicts(judge(Gate(RMSE, at_most=1.2), of(1.0, ("single", 100, 9.0)))) == [("all rows", True)]


def test_slices_are_held_against_the_champions_slices() -> None:
    gate = Gate(RMSE, champion_tolerance=0.1, slices=["plurality"])
    new = of(1.0, ("single", 100, 1.0), ("twins", 40, 1.5), ("triplets", 40, 1.0))
    old = of(1.0, ("single", 100, 1.0), ("twins", 40, 1.2))
    decision = judge(gate, new, old)
    assert [v for _, v in verdicts(decision)] == [True, True, False, None]
    assert decision.reasons[2] == (
        "root_mean_squared_error for plurality=twins (40 rows) is 1.5; the champion's is 1.2, "
        "so 1.32 is allowed: failed."
    )


def test_without_a_gate_every_model_is_blessed() -> None:
    assert judge(None, of(None)) == GateDecision(True, (), (UNGATED,))


@pytest.mark.parametrize(
    ("metric", "value", "base", "interval", "passed"),
    [
        (RMSE, 1.0, 2.0, (-1.2, -0.8), True),
        (RMSE, 1.0, 2.0, (-1.2, 0.0), False),
        (RMSE, 2.0, 1.0, (0.5, 1.5), False),
        ("accuracy", 0.9, 0.6, (0.2, 0.4), True),
        ("accuracy", 0.9, 0.9, (0.0, 0.0), False),
        ("accuracy", 0.9, 0.6, None, False),
        ("auc", None, 0.5, (0.1, 0.2), False),
        ("r_squared", 0.3, None, (0.1, 0.2), False),
    ],
)
def test_a_model_must_be_better_than_the_baseline_with_its_interval(
    metric: str, value: float | None, base: float | None, interval: tuple[float, float] | None, passed: bool
) -> None:
    baseline = ConstantBaseline("the mean of the train labels", base, interval, 0.95, 100)
    decision = judge(Gate(metric), of(value, metric=metric), baseline=baseline)
    assert verdicts(decision) == [("all rows", passed)]
    assert decision.blessed is passed


def test_the_baseline_comes_before_the_bounds() -> None:
    gate = Gate(RMSE, at_most=1.5, beats_baseline=True)
    decision = judge(
        gate, of(1.0), baseline=ConstantBaseline("the mean of the train labels", 2.0, (-1.5, -0.5), 0.9, 40)
    )
    assert decision.reasons == (
        (
            "root_mean_squared_error on all rows is 1; that of the baseline, the mean of the train labels, is 2; "
            "the 90 % interval of the difference is -1.5 to -0.5 on 40 test rows: passed."
        ),
        "root_mean_squared_error on all rows is 1, at most 1.5 was configured: passed.",
    )


@pytest.mark.parametrize(
    ("gate", "measured", "reason"),
    [
        (
            Gate(RMSE, at_most=1.2),
            of(1.10434),
            "root_mean_squared_error on all rows is 1.104, at most 1.2 was configured: passed.",
        ),
        (
            Gate(RMSE, at_most=1.2),
            of(1.31),
            "root_mean_squared_error on all rows is 1.31, above the 1.2 allowed: failed.",
        ),
        (
            Gate(RMSE, at_most=1.2),
            of(1.2000001),
            "root_mean_squared_error on all rows is 1.2000001, above the 1.2 allowed: failed.",
        ),
        (
            Gate("auc", at_least=0.8),
            of(0.75, metric="auc"),
            "auc on all rows is 0.75, below the 0.8 allowed: failed.",
        ),
        (Gate("auc", at_least=0.8), of(None, metric="auc"), "auc on all rows is undefined; at least 0.8: failed."),
    ],
)
def test_sentences(gate: Gate, measured: ModelMetrics, reason: str) -> None:
    assert judge(gate, measured).reasons == (reason,)


def test_the_sentence_of_a_small_slice() -> None:
    gate = Gate(RMSE, at_most=1.2, slices=["plurality"])
    reasons = judge(gate, of(1.0, ("twins", 7, 1.41))).reasons
    assert reasons[1] == (
        "root_mean_squared_error for plurality=twins is 1.41, on 7 rows: fewer than 20, so not judged."
    )


def test_a_check_as_json() -> None:
    check = judge(Gate(RMSE, at_most=1.2), of(1.1)).checks[0]
    expected = {"where": "all rows", "metric": RMSE, "measured": 1.1, "bound": "at most 1.2", "passed": True}
    assert check.to_json() == expected


values = st.none() | st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(-1e6, 1e6)
metrics = st.sampled_from(sorted({name for names in METRICS.values() for name in names}))


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    low, high = sorted([draw(finite), draw(finite)])
    bounds: dict[str, Any] = {
        "at_least": draw(st.sampled_from([None, low])),
        "at_most": draw(st.sampled_from([None, high])),
        "champion_tolerance": draw(st.none() | st.floats(0, 2)),
    }
    if all(value is None for value in bounds.values()):
        bounds["at_most"] = high
    return Gate(draw(metrics), slices=draw(st.sampled_from([[], ["plurality"]])), **bounds)


def parts(metric: str) -> st.SearchStrategy[ModelMetrics]:
    one = st.tuples(st.sampled_from("abcdef"), st.integers(1, 60), values)
    return st.builds(
        lambda value, slices: of(value, *slices, metric=metric),
        values,
        st.lists(one, max_size=6, unique_by=lambda s: s[0]),
    )


@given(gates(), st.data())
def test_what_holds_of_every_decision(gate: Gate, data: st.DataObject) -> None:
    measured = data.draw(parts(gate.metric))
    champion = data.draw(st.none() | parts(gate.metric))
    decision = judge(gate, measured, champion)
    assert decision == judge(gate, measured, champion)
    assert decision.blessed is all(check.passed is not False for check in decision.checks)
    assert decision.reasons == tuple(check.reason for check in decision.checks)
    assert all(reason.endswith(".") for reason in decision.reasons)
    whole = [check for check in decision.checks if check.where == "all rows"]
    assert len(whole) == sum(b is not None for b in (gate.at_most, gate.at_least, gate.champion_tolerance))
    sizes = {part.where: part.rows for part in measured.slices}
    for check in decision.checks:
        if check.where in sizes and sizes[check.where] < gate.minimum_slice_size:
            assert check.passed is None
        if check.passed is not None and check.measured is not None:
            assert math.isfinite(check.measured)
    value = measured.metrics[gate.metric]
    if value is None or not math.isfinite(value):
        assert not any(check.passed for check in whole)
        if gate.at_most is not None or gate.at_least is not None:
            assert not decision.blessed


@given(metrics, finite, st.floats(0, 2), st.lists(finite, max_size=3))
def test_a_model_passes_against_itself(metric: str, value: float, tolerance: float, slices: list[float]) -> None:
    same = of(value, *((str(i), 50, v) for i, v in enumerate(slices)), metric=metric)
    assert judge(Gate(metric, champion_tolerance=tolerance, slices=["plurality"]), same, same).blessed


@given(metrics, finite, finite, finite, st.floats(0, 2))
def test_better_never_turns_a_blessing_into_a_refusal(
    metric: str, value: float, step: float, champion: float, tolerance: float
) -> None:
    gate = Gate(metric, champion_tolerance=tolerance)
    up = any(names.get(metric, False) for names in METRICS.values())
    better = value * 0.5 if metric == "mean_bias" else value + abs(step) if up else value - abs(step)
    old = of(champion, metric=metric)
    if judge(gate, of(value, metric=metric), old).blessed:
        assert judge(gate, of(better, metric=metric), old).blessed


@given(gates(), st.data())
def test_a_wider_bound_never_turns_a_blessing_into_a_refusal(gate: Gate, data: st.DataObject) -> None:
    measured, champion = data.draw(parts(gate.metric)), data.draw(parts(gate.metric))
    wider = dataclasses.replace(
        gate,
        at_most=None if gate.at_most is None else gate.at_most + 1,
        at_least=None if gate.at_least is None else gate.at_least - 1,
        champion_tolerance=None if gate.champion_tolerance is None else gate.champion_tolerance + 1,
    )
    if judge(gate, measured, champion).blessed:
        assert judge(wider, measured, champion).blessed


def test_checks_are_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GateCheck("all rows", RMSE, 1.0, "at most 1", True, "").passed = False  # type: ignore[misc]
