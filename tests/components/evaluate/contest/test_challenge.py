"""Challenge: when a challenger replaces the champion."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headrace.components.evaluate.contest import newest
from headrace.components.evaluate.contest.challenge import Challenge, ChallengerComparison, judge_all, judge_slice
from headrace.components.evaluate.contest.newest import compare
from headrace.components.evaluate.gate import GateCheck, GateDecision
from headrace.components.evaluate.predict import SplitPredictions
from headrace.components.evaluate.slices import Category
from headrace.core.errors import UsageError
from headrace.core.metrics import Outcomes
from headrace.core.problem import Categorical, Gate, Numeric, Problem

RMSE, AUC = "root_mean_squared_error", "auc"


@pytest.mark.parametrize(
    ("metric", "interval", "comparison", "passed"),
    [
        # The challenger's RMSE is lower by 0.1 to 0.3.
        (RMSE, (-0.3, -0.1), ChallengerComparison(), True),
        (RMSE, (-0.3, -0.1), ChallengerComparison(margin=0.05), True),
        (RMSE, (-0.3, -0.1), ChallengerComparison(margin=0.1), False),
        (RMSE, (-0.3, 0.1), ChallengerComparison(), False),
        (RMSE, (0.1, 0.3), ChallengerComparison(), False),
        (AUC, (0.1, 0.3), ChallengerComparison(), True),
        (AUC, (-0.3, -0.1), ChallengerComparison(), False),
        # A stale champion stays only where the challenger is clearly worse.
        (RMSE, (-0.3, 0.1), ChallengerComparison(stale=True), True),
        (RMSE, (0.0, 0.1), ChallengerComparison(stale=True), True),
        (RMSE, (0.05, 0.1), ChallengerComparison(stale=True), False),
        (RMSE, (0.05, 0.1), ChallengerComparison(tolerance=0.05, stale=True), True),
        (RMSE, (0.06, 0.1), ChallengerComparison(tolerance=0.05, stale=True), False),
        (RMSE, (-0.3, -0.1), ChallengerComparison(margin=1.0, stale=True), True),
    ],
)
def test_all_rows(metric: str, interval: tuple[float, float], comparison: ChallengerComparison, passed: bool) -> None:
    check = judge_all(comparison, metric, "all rows", 1.0, 2.0, interval)
    assert (check.passed, check.measured) == (passed, 1.0)
    assert check.reason.endswith("passed." if passed else "the champion stays.")


@pytest.mark.parametrize(
    ("values", "interval"), [((None, 1.0), (0.0, 1.0)), ((1.0, None), (0.0, 1.0)), ((1.0, 1.0), None)]
)
def test_what_cannot_be_compared_changes_nothing(values: Any, interval: Any) -> None:
    for comparison in (ChallengerComparison(), ChallengerComparison(stale=True)):
        assert judge_all(comparison, RMSE, "all rows", *values, interval).passed is False
        assert judge_slice(comparison, RMSE, "c=a", *values, interval) is None


@pytest.mark.parametrize(
    ("interval", "tolerance", "passed"),
    [((-0.3, 0.1), 0.0, True), ((0.1, 0.3), 0.0, False), ((0.1, 0.3), 0.1, True), ((0.2, 0.3), 0.1, False)],
)
def test_a_slice_may_not_be_clearly_worse(interval: tuple[float, float], tolerance: float, passed: bool) -> None:
    check = judge_slice(ChallengerComparison(tolerance=tolerance), RMSE, "c=a", 1.0, 2.0, interval)
    assert check is not None
    assert check.passed is passed


def test_staleness_is_counted_in_spans() -> None:
    assert [ChallengerComparison.of(Challenge(stale_after=3), newer).stale for newer in (0, 2, 3, 4)] == [
        False,
        False,
        True,
        True,
    ]
    assert not ChallengerComparison.of(Challenge(stale_after=0), 100).stale


def test_a_champion_that_saw_a_span_which_is_withdrawn_is_stale() -> None:
    spoiled = ChallengerComparison.of(
        Challenge(tolerance=0.1), 0, "version v1 saw span 2026-01-01, which is withdrawn now"
    )
    assert spoiled.stale
    check = judge_all(spoiled, RMSE, "all rows", 1.0, 1.0, (-0.1, 0.1))
    assert check.passed
    assert "not below -0.1, as version v1 saw span 2026-01-01, which is withdrawn now" in check.reason
    assert not judge_all(spoiled, RMSE, "all rows", 2.0, 1.0, (0.5, 1.5)).passed
    assert ChallengerComparison.from_json(spoiled.to_json()) == spoiled


def test_json() -> None:
    challenge, comparison = Challenge(0.5, 0.1, 3), ChallengerComparison(0.5, 0.1, True, 4)
    assert Challenge.from_json(challenge.to_json()) == challenge
    assert Challenge.from_json({"stale_after": 3.0}) == Challenge(stale_after=3)
    assert ChallengerComparison.from_json(comparison.to_json()) == comparison
    assert ChallengerComparison.from_json({**comparison.to_json(), "newer_spans": 4.0}) == comparison
    assert ChallengerComparison.from_json({}) is None
    for wrong in ({"margin": -1}, {"tolerance": float("nan")}, {"stale_after": -1}, {"stale_after": 1.5}, {"more": 1}):
        with pytest.raises(UsageError):
            Challenge.from_json(wrong)
    with pytest.raises(UsageError, match="the comparison is not valid"):
        ChallengerComparison.from_json({"margin": 1.0})


def test_the_gate_decides_too() -> None:
    check = GateCheck("all rows", RMSE, 1.0, "above 0", True, "Better.")
    ungated = GateDecision(True, (), ("Ungated.",))
    assert ungated.joined(True, (check,)) == GateDecision(True, (check,), ("Better.",))
    refused = GateDecision(False, (check,), ("Too large.",))
    assert refused.joined(True, (check,)).blessed is False
    assert GateDecision(True, (check,), ("Fine.",)).joined(False, (check,)) == GateDecision(
        False, (check, check), ("Fine.", "Better.")
    )


def problem(**gate: Any) -> Problem:
    return Problem(
        name="days",
        key="id",
        label=Numeric("y"),
        features=[Categorical("c")],
        gate=Gate(RMSE, at_most=1000.0, **gate) if gate else None,
    )


def compared(
    monkeypatch: pytest.MonkeyPatch, new: Any, old: Any, problem: Problem, comparison: ChallengerComparison
) -> Any:
    """The contest of two models with these errors, on rows of which every second has the value b."""
    rows = len(new)
    label = np.arange(rows, dtype=np.float64)
    outcomes = tuple(Outcomes("regression", (), label, label + error, None, None) for error in (new, old))
    category = Category(("a", "b"), np.arange(rows) % 2)
    predicted = SplitPredictions(np.arange(rows).astype(object), outcomes, {"c": category})
    monkeypatch.setattr("headrace.components.evaluate.contest.newest.predict", lambda *_: predicted)
    monkeypatch.setattr(newest, "open_newest", lambda *_: SimpleNamespace())
    return compare(problem, "examples", [], comparison, confidence=0.95, resamples=200, seed=1)


def errors(size: float, rows: int = 200, seed: int = 1) -> Any:
    return size * np.random.Generator(np.random.PCG64(seed)).standard_normal(rows)


def test_a_better_model_on_the_newest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    better = compared(monkeypatch, errors(1.0), errors(2.0), problem(), ChallengerComparison())
    assert (better.passed, better.rows, better.metric, len(better.checks)) == (True, 200, RMSE, 1)
    assert not compared(monkeypatch, errors(2.0), errors(1.0), problem(), ChallengerComparison()).passed
    assert not compared(monkeypatch, errors(1.0), errors(1.0), problem(), ChallengerComparison()).passed
    assert compared(monkeypatch, errors(1.0), errors(1.0), problem(), ChallengerComparison(stale=True)).passed


def test_a_model_that_is_better_overall_and_worse_on_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    new = errors(1.0)
    new[1::2] *= 3
    old = errors(6.0)
    old[1::2] = errors(1.0)[1::2]
    sliced = problem(slices=["c"])
    found = compared(monkeypatch, new, old, sliced, ChallengerComparison())
    assert [check.passed for check in found.checks] == [True, True, False]
    assert not found.passed
    assert compared(monkeypatch, new, old, problem(), ChallengerComparison()).passed
    # Too few rows of each value are not judged.
    few = problem(slices=["c"], minimum_slice_size=101)
    assert len(compared(monkeypatch, new, old, few, ChallengerComparison()).checks) == 1


def test_a_span_without_test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "open_newest", lambda *_: None)
    found = compare(problem(), "examples", [], ChallengerComparison(stale=True), confidence=0.95, resamples=10, seed=1)
    assert (found.passed, found.rows) == (False, 0)
