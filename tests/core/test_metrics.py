"""The metrics against arithmetic by hand and against scikit-learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer

from headrace.core.metrics import Outcomes, baseline, measure
from headrace.core.problem import METRICS, Task
from headrace.core.statistics.weighted import as_weighted


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


def weighted(outcomes: Outcomes, weight: list[float]) -> Outcomes:
    return dataclasses.replace(outcomes, weight=np.array(weight, float))


def test_weighted_regression_by_hand() -> None:
    found = measure(weighted(regression([1, 2, 3, 6], [2, 2, 5, 5]), [1, 0.5, 2, 0]))
    # Errors 1, 0, 2; the weighted mean of the labels is 8 / 3.5.
    about_mean = 1 * (1 - 8 / 3.5) ** 2 + 0.5 * (2 - 8 / 3.5) ** 2 + 2 * (3 - 8 / 3.5) ** 2
    assert found == {
        "root_mean_squared_error": pytest.approx(np.sqrt(9 / 3.5)),
        "mean_squared_error": pytest.approx(9 / 3.5),
        "mean_absolute_error": pytest.approx(5 / 3.5),
        "mean_bias": pytest.approx(5 / 3.5),
        "r_squared": pytest.approx(1 - 9 / about_mean),
    }


def test_weighted_binary_by_hand() -> None:
    found = measure(weighted(binary([1, 0, 1, 0], [0.75, 0.5, 0.5, 0.25]), [1, 2, 3, 4]))
    # Predicted positive: rows of weight 1, 2 and 3, of which the second is not.
    assert found["accuracy"] == pytest.approx(8 / 10)
    assert found["precision"] == pytest.approx(4 / 6)
    assert found["recall"] == 1.0
    # Pairs: 1*2 and 1*4 and 3*4 in order, 3*2 tied.
    assert found["auc"] == pytest.approx((2 + 4 + 12 + 3) / 24)
    assert found["auc_pr"] == pytest.approx(1 / 4 * 1 + 3 / 4 * 4 / 6)


@pytest.mark.parametrize("task", list(METRICS))
def test_weighted_metrics_agree_with_scikit_learn(task: Task) -> None:
    random = np.random.default_rng(5)
    rows = 2000
    weight = np.where(random.random(rows) < 0.1, 0.0, random.exponential(3, rows))
    outcomes, found = peers(task, random, rows)
    expected = {name: compute(weight) for name, compute in found.items()}
    assert measure(weighted(outcomes, weight.tolist())) == pytest.approx(expected, rel=1e-6)
    part = np.flatnonzero(random.random(rows) < 0.5)
    only = np.zeros(rows)
    only[part] = weight[part]
    whole = measure(weighted(outcomes, weight.tolist()), part)
    assert whole == pytest.approx({name: compute(only) for name, compute in found.items()}, rel=1e-6)


def peers(task: Task, random: np.random.Generator, rows: int) -> tuple[Outcomes, dict[str, Callable[[Any], float]]]:
    """Rows, and each metric of scikit-learn as a function of their weights."""
    if task == "regression":
        y = random.normal(1000, 2, rows)
        p = y + random.normal(0.3, 1, rows)
        return Outcomes(task, (), y, p), {
            "root_mean_squared_error": lambda w: peer.root_mean_squared_error(y, p, sample_weight=w),
            "mean_squared_error": lambda w: peer.mean_squared_error(y, p, sample_weight=w),
            "mean_absolute_error": lambda w: peer.mean_absolute_error(y, p, sample_weight=w),
            "mean_bias": lambda w: float(np.average(p - y, weights=w)),
            "r_squared": lambda w: peer.r2_score(y, p, sample_weight=w),
        }
    classes = tuple("abcd") if task == "multiclass" else ("no", "yes")
    y = random.integers(0, len(classes), rows)
    if task == "binary":
        s = (np.round(np.clip(random.beta(2, 2, rows) + 0.2 * y, 0.01, 0.99) * 50) / 50).astype(np.float32)
        c = (s > 0.55).astype(np.int64)
        return Outcomes(task, classes, y, c, s), {
            "accuracy": lambda w: peer.accuracy_score(y, c, sample_weight=w),
            "auc": lambda w: peer.roc_auc_score(y, s, sample_weight=w),
            "auc_pr": lambda w: peer.average_precision_score(y, s, sample_weight=w),
            "log_loss": lambda w: peer.log_loss(y, s.astype(float), sample_weight=w),
            "brier_score": lambda w: peer.brier_score_loss(y, s, sample_weight=w),
            "precision": lambda w: peer.precision_score(y, c, sample_weight=w),
            "recall": lambda w: peer.recall_score(y, c, sample_weight=w),
            "f1_score": lambda w: peer.f1_score(y, c, sample_weight=w),
        }
    p = random.dirichlet(np.ones(4), rows) * 0.5 + 0.5 * np.eye(4)[random.integers(0, 4, rows)]
    c = p.argmax(axis=1)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return Outcomes(task, classes, y, c, p), {
        "accuracy": lambda w: peer.accuracy_score(y, c, sample_weight=w),
        "log_loss": lambda w: peer.log_loss(y, np.clip(p, 2.0**-23, 1), sample_weight=w),
        "macro_precision": lambda w: peer.precision_score(y, c, sample_weight=w, **macro),
        "macro_recall": lambda w: peer.recall_score(y, c, sample_weight=w, **macro),
        "macro_f1_score": lambda w: peer.f1_score(y, c, sample_weight=w, **macro),
    }


@given(st.lists(st.integers(0, 3), min_size=3, max_size=30), st.sampled_from(list(METRICS)), st.integers(0, 99))
def test_a_whole_weight_counts_as_so_many_rows(weight: list[int], task: Task, seed: int) -> None:
    random = np.random.default_rng(seed)
    outcomes, _ = peers(task, random, len(weight))
    repeated = np.repeat(np.arange(len(weight)), weight)
    of_weights, of_rows = measure(weighted(outcomes, list(map(float, weight)))), measure(outcomes, repeated)
    assert [value is None for value in of_weights.values()] == [value is None for value in of_rows.values()]
    defined = {name: value for name, value in of_rows.items() if value is not None}
    assert {name: of_weights[name] for name in defined} == pytest.approx(defined, rel=1e-6, abs=1e-9)


def test_the_baseline_is_weighted() -> None:
    outcomes = weighted(binary([1, 0, 1], [0.9, 0.1, 0.2]), [4, 1, 1])
    label = {"count": 10, "vocabulary": [["no", 8], ["yes", 2]]}
    weighed = {**label, "weighted": {"weight": 20.0, "vocabulary": [["yes", 15.0], ["no", 5.0]]}}
    assert as_weighted(label) == label
    # Without weights "no" is the commonest class, by weight "yes" is.
    assert baseline(outcomes, label)["accuracy"] == pytest.approx(1 / 6)
    found = baseline(outcomes, as_weighted(weighed))
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["log_loss"] == pytest.approx(-(5 * np.log(0.75) + np.log(0.25)) / 6)
    number = {"count": 3, "mean": 2.0, "weighted": {"weight": 3.0, "mean": 4.0}}
    errors = baseline(weighted(regression([4, 7], [0, 0]), [3, 1]), as_weighted(number))
    assert errors["mean_squared_error"] == pytest.approx(9 / 4)
