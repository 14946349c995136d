"""The metrics against arithmetic by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer

from headrace.core.metrics import Outcomes, baseline, measure
from headrace.core.problem import METRICS


def regression(label: list[float], prediction: list[float]) -> Outcomes:
    return Outcomes("regression", (), np.array(label, float), np.array(prediction, float))


def binary(label: list[int], probability: list[float], prediction: list[int] | None = None) -> Outcomes:
    p = np.array(probability, np.float32)
    chosen = (p >= 0.5).astype(np.int64) if prediction is None else np.array(prediction, np.int64)
    return Outcomes("binary", ("no", "yes"), np.array(label, np.int64), chosen, p)


def test_regression_by_hand() -> None:
    found = measure(regression([1, 2, 3, 6], [2, 2, 5, 5]))
    assert found == {
        "root_mean_squared_error": pytest.approx(np.sqrt(6 / 4)),
        "mean_squared_error": 6 / 4,
        "mean_absolute_error": 1.0,
        "mean_bias": 0.5,
        "r_squared": pytest.approx(1 - 6 / 14),
    }


def test_binary_by_hand() -> None:
    found = measure(binary([1, 0, 1, 0], [0.75, 0.5, 0.5, 0.25]))
    assert found["accuracy"] == 0.75
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1.0
    assert found["f1_score"] == pytest.approx(0.8)
    # Of four pairs, three are in order and one is tied.
    assert found["auc"] == 3.5 / 4
    assert found["auc_pr"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["log_loss"] == pytest.approx(-(2 * np.log(0.75) + 2 * np.log(0.5)) / 4)
    assert found["brier_score"] == pytest.approx((2 * 0.0625 + 2 * 0.25) / 4)


@pytest.mark.parametrize("task", list(METRICS))
def test_every_metric_of_the_task_in_its_order(task: str) -> None:
    outcomes = {
        "regression": regression([1, 2], [1, 2]),
        "binary": binary([0, 1], [0.1, 0.9]),
        "multiclass": Outcomes("multiclass", ("a", "b", "c"), np.array([0, 1]), np.array([0, 1]), np.eye(3)[:2]),
    }[task]
    assert list(measure(outcomes)) == list(METRICS[task])  # type: ignore[index]


def test_regression_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(1)
    label = random.normal(1000, 2, 500)
    prediction = label + random.normal(0.3, 1, 500)
    found = measure(Outcomes("regression", (), label, prediction))
    assert found["mean_squared_error"] == pytest.approx(peer.mean_squared_error(label, prediction), rel=1e-12)
    assert found["root_mean_squared_error"] == pytest.approx(peer.root_mean_squared_error(label, prediction), rel=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(peer.mean_absolute_error(label, prediction), rel=1e-12)
    assert found["r_squared"] == pytest.approx(peer.r2_score(label, prediction), rel=1e-10)


@pytest.mark.parametrize("distinct", [5, 100, 100_000])
def test_binary_agrees_with_scikit_learn(distinct: int) -> None:
    random = np.random.default_rng(distinct)
    label = random.integers(0, 2, 3000)
    score = np.clip(random.beta(2, 2, 3000) + 0.2 * label, 0, 1)
    score = (np.round(score * distinct) / distinct).astype(np.float32)
    prediction = (score > 0.55).astype(np.int64)
    found = measure(Outcomes("binary", ("no", "yes"), label, prediction, score))
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(label, prediction))
    assert found["auc"] == pytest.approx(peer.roc_auc_score(label, score), rel=1e-9)
    assert found["auc_pr"] == pytest.approx(peer.average_precision_score(label, score), rel=1e-9)
    # scikit-learn keeps the dtype of the scores, and adds them up in float32.
    assert found["log_loss"] == pytest.approx(peer.log_loss(label, score), rel=1e-5)
    assert found["brier_score"] == pytest.approx(peer.brier_score_loss(label, score.astype(float)), rel=1e-9)
    assert found["precision"] == pytest.approx(peer.precision_score(label, prediction))
    assert found["recall"] == pytest.approx(peer.recall_score(label, prediction))
    assert found["f1_score"] == pytest.approx(peer.f1_score(label, prediction))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 99))
def test_multiclass_agrees_with_scikit_learn_whatever_occurs(pairs: list[tuple[int, int]], seed: int) -> None:
    label, prediction = (np.array(side) for side in zip(*pairs, strict=True))
    probability = np.random.default_rng(seed).dirichlet(np.ones(4), len(label))
    found = measure(Outcomes("multiclass", tuple("abcd"), label, prediction, probability))
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(label, prediction))
    assert found["log_loss"] == pytest.approx(peer.log_loss(label, probability, labels=range(4)), rel=1e-6)
    for name, of in (
        ("macro_precision", peer.precision_score),
        ("macro_recall", peer.recall_score),
        ("macro_f1_score", peer.f1_score),
    ):
        assert found[name] == pytest.approx(of(label, prediction, average="macro", zero_division=0))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=40),
)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    label = [int(positive) for positive, _ in rows]
    score = [value / 8 for _, value in rows]
    above = [score[i] for i, y in enumerate(label) if y]
    below = [score[i] for i, y in enumerate(label) if not y]
    found = measure(binary(label, score))
    if not above or not below:
        assert found["auc"] is None
        assert found["auc_pr"] is None
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    assert found["auc"] == pytest.approx(sum(pairs) / len(pairs))


def test_a_metric_without_meaning_is_none() -> None:
    one_class = measure(binary([0, 0], [0.1, 0.2]))
    assert {n for n, v in one_class.items() if v is None} == {"auc", "auc_pr", "precision", "recall", "f1_score"}
    never_claimed = measure(binary([1, 0], [0.1, 0.2]))
    assert never_claimed["precision"] is None
    assert never_claimed["f1_score"] == 0.0
    equal = measure(regression([0.1] * 7, [1, 2, 3, 4, 5, 6, 7]))
    assert equal["r_squared"] is None
    assert equal["mean_bias"] == pytest.approx(3.9)


@pytest.mark.parametrize("outcomes", [regression([], []), binary([], [])])
def test_no_rows_have_no_metrics(outcomes: Outcomes) -> None:
    assert set(measure(outcomes).values()) == {None}


def test_certain_and_wrong_costs_a_finite_loss() -> None:
    found = measure(binary([1, 0], [0.0, 1.0]))
    assert found["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps), rel=1e-6)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.booleans()), min_size=1, max_size=30))
def test_a_slice_is_measured_as_if_it_were_all(rows: list[tuple[float, float, bool]]) -> None:
    label, prediction, inside = (np.array(side) for side in zip(*rows, strict=True))
    whole = Outcomes("regression", (), label, prediction)
    alone = Outcomes("regression", (), label[inside], prediction[inside])
    of_slice, by_itself = measure(whole, np.flatnonzero(inside)), measure(alone)
    for name in ("root_mean_squared_error", "mean_absolute_error", "mean_bias"):
        expected = by_itself[name]
        assert of_slice[name] == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))


def test_baselines() -> None:
    of_mean = baseline(regression([1, 3], [9, 9]), {"mean": 2.5})
    assert of_mean["mean_bias"] == 0.5
    assert of_mean["mean_absolute_error"] == 1.0
    shares = {"vocabulary": [["yes", 3], ["no", 1]]}
    of_shares = baseline(binary([1, 0, 0, 1], [0.5] * 4), shares)
    assert of_shares["accuracy"] == 0.5
    assert of_shares["auc"] == 0.5
    assert of_shares["recall"] == 1.0
    assert of_shares["log_loss"] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    three = Outcomes("multiclass", ("a", "b", "c"), np.array([0, 1, 1]), np.array([0, 0, 0]), np.full((3, 3), 1 / 3))
    found = baseline(three, {"vocabulary": [["b", 2], ["a", 1], ["c", 1]]})
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-(np.log(0.25) + 2 * np.log(0.5)) / 3)
