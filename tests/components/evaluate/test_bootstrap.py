"""The bootstrap: the same every time, as wide as theory says, and fast enough."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from headrace.components.evaluate import bootstrap
from headrace.components.evaluate.bootstrap import draw, intervals
from headrace.core.metrics import Outcomes, measure
from headrace.core.problem import METRICS, Task


def sample(task: Task, rows: int, seed: int = 1) -> Outcomes:
    """Rows with a known law: errors are normal; scores of the two classes are normal, a deviation apart."""
    random = np.random.default_rng(seed)
    if task == "regression":
        label = random.normal(7, 1.5, rows)
        return Outcomes(task, (), label, label + random.normal(0.2, 1.0, rows))
    if task == "binary":
        y = random.integers(0, 2, rows)
        p = 1 / (1 + np.exp(-random.normal(y - 0.5, 1.0)))
        return Outcomes(task, ("no", "yes"), y, (p >= 0.5).astype(np.int64), p.astype(np.float32))
    y = random.integers(0, 4, rows)
    p = random.dirichlet(np.ones(4), rows) * 0.5 + 0.5 * np.eye(4)[random.integers(0, 4, rows)]
    return Outcomes(task, tuple("abcd"), y, p.argmax(axis=1), p.astype(np.float32))


@pytest.mark.parametrize("rows", [3, 145, 1000, 2500])
def test_a_resample_draws_as_many_groups_as_there_are(rows: int) -> None:
    drawn = draw(rows, resamples=50, seed=7)
    count = min(rows, bootstrap.GROUPS)
    assert drawn.weights.shape == (count, 50)
    assert (drawn.weights.sum(axis=0) == count).all()
    sizes = np.bincount(drawn.groups, minlength=count)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("task", list(METRICS))
@pytest.mark.parametrize("rows", [145, 3000])
def test_a_row_that_is_drawn_twice_counts_twice_its_weight(task: Task, rows: int) -> None:
    outcomes = sample(task, rows)
    drawn = draw(rows, resamples=60, seed=3)
    alike = intervals(outcomes, drawn, confidence=0.9)
    fours = intervals(dataclasses.replace(outcomes, weight=np.full(rows, 4.0)), drawn, confidence=0.9)
    assert {n: i for n, i in fours.items() if i} == {n: pytest.approx(i, rel=1e-5) for n, i in alike.items() if i}
    # Where few rows have nearly all the weight, there is more chance in it.
    skewed = np.where(np.random.default_rng(2).random(rows) < 0.05, 50.0, 0.1)
    wide = intervals(dataclasses.replace(outcomes, weight=skewed), drawn, confidence=0.9)
    name = "mean_absolute_error" if task == "regression" else "accuracy"
    assert wide[name] is not None
    assert alike[name] is not None
    assert wide[name][1] - wide[name][0] > 2 * (alike[name][1] - alike[name][0])
    # By hand: each resample is measured with how often each of its rows was drawn, times its weight.
    values = []
    for counts in drawn.weights.T:
        found = measure(dataclasses.replace(outcomes, weight=skewed * counts[drawn.groups]))[name]
        values.append(found)
    assert wide[name] == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), rel=1e-9)
    part = np.flatnonzero(outcomes.label > np.median(outcomes.label) - 1)[: rows // 2]
    of_part = intervals(dataclasses.replace(outcomes, weight=skewed), drawn, confidence=0.9, rows=part)[name]
    values = [
        measure(dataclasses.replace(outcomes, weight=skewed * counts[drawn.groups]), part)[name]
        for counts in drawn.weights.T
    ]
    assert of_part == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), rel=1e-9)


@pytest.mark.parametrize("rows", [145, 3000])
def test_intervals_of_ranking_are_weighted(rows: int) -> None:
    outcomes = sample("binary", rows)
    weight = np.random.default_rng(4).exponential(1.0, rows)
    outcomes = dataclasses.replace(outcomes, weight=weight)
    drawn = draw(rows, resamples=60, seed=3)
    found = intervals(outcomes, drawn, confidence=0.9)
    for name in ("auc", "auc_pr"):
        values = [
            measure(dataclasses.replace(outcomes, weight=weight * counts[drawn.groups]))[name]
            for counts in drawn.weights.T
        ]
        # Above GROUPS rows, scores are in bins.
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), rel=1e-9 if rows < 1000 else 2e-3)


@pytest.mark.parametrize("task", list(METRICS))
@pytest.mark.parametrize("rows", [145, 3000])
def test_the_same_seed_gives_the_same_intervals(task: Task, rows: int) -> None:
    outcomes = sample(task, rows)
    found = [intervals(outcomes, draw(rows, resamples=100, seed=s), confidence=0.95) for s in (3, 3, 4)]
    assert found[0] == found[1] != found[2]
    assert list(found[0]) == list(METRICS[task])
    for name, value in measure(outcomes).items():
        interval = found[0][name]
        assert interval is not None
        assert value is not None
        assert interval[0] < value < interval[1], name


def test_resampling_is_by_the_rows_own_weights() -> None:
    """Each resample, written out as rows, has the very metrics that its weights give."""
    for task in METRICS:
        outcomes = sample(task, 40)
        drawn = draw(40, resamples=200, seed=2)
        by_hand: dict[str, list[float]] = {name: [] for name in METRICS[task]}
        for weight in drawn.weights.T.astype(int):
            chosen = np.repeat(np.arange(40), weight)
            p = outcomes.probability
            picked = Outcomes(
                task,
                outcomes.classes,
                outcomes.label[chosen],
                outcomes.prediction[chosen],
                None if p is None else p[chosen],
            )
            for name, value in measure(picked).items():
                by_hand[name].append(np.nan if value is None else value)
        for name, interval in intervals(outcomes, drawn, confidence=0.9).items():
            expected = np.nanquantile(by_hand[name], [0.05, 0.95])
            assert interval == pytest.approx(tuple(expected), rel=1e-6), name


@pytest.mark.parametrize("rows", [400, 20_000])
def test_intervals_are_as_wide_as_theory_says(rows: int) -> None:
    """The standard errors of the mean, and of the AUC by Hanley and McNeil, times 2 * 1.96."""
    outcomes = sample("regression", rows)
    found = intervals(outcomes, draw(rows, resamples=1000, seed=1), confidence=0.95)["mean_bias"]
    error = outcomes.prediction - outcomes.label
    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * error.std() / np.sqrt(rows), rel=0.12)

    outcomes = sample("binary", rows)
    found = intervals(outcomes, draw(rows, resamples=1000, seed=1), confidence=0.95)["auc"]
    auc = measure(outcomes)["auc"]
    assert auc is not None
    assert found is not None
    m = rows / 2
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (q1 - auc**2 + q2 - auc**2)) / m**2
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.15)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples, 95 % intervals of 200 rows hold the true bias 0.2 and the true AUC in some 190."""
    from math import erf

    truth = {"mean_bias": 0.2, "auc": 0.5 * (1 + erf(1 / np.sqrt(2) / np.sqrt(2)))}
    held = dict.fromkeys(truth, 0)
    drawn = draw(200, resamples=300, seed=11)
    for seed in range(200):
        for task, name in (("regression", "mean_bias"), ("binary", "auc")):
            interval = intervals(sample(task, 200, seed), drawn, confidence=0.95)[name]  # type: ignore[arg-type]
            assert interval is not None
            held[name] += interval[0] <= truth[name] <= interval[1]
    # Three standard deviations of a count of 200 at 0.95 are 9, and the percentile method falls a little short.
    assert all(178 <= count <= 199 for count in held.values()), held


def test_large_splits_agree_with_the_plain_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    for task in METRICS:
        outcomes = sample(task, 5000)
        grouped = intervals(outcomes, draw(5000, resamples=1000, seed=1), confidence=0.95)
        with monkeypatch.context() as patch:
            patch.setattr(bootstrap, "GROUPS", 10_000)
            plain = intervals(outcomes, draw(5000, resamples=1000, seed=1), confidence=0.95)
        for name, (low, high) in ((n, i) for n, i in plain.items() if i is not None):
            found = grouped[name]
            assert found is not None
            assert found == pytest.approx((low, high), abs=0.15 * (high - low)), name


def test_slices_use_the_rows_of_the_slice_alone() -> None:
    outcomes = sample("binary", 600)
    rows = np.arange(0, 600, 3)
    drawn = draw(600, resamples=400, seed=5)
    found = intervals(outcomes, drawn, confidence=0.95, rows=rows)
    alone = Outcomes(
        "binary",
        outcomes.classes,
        outcomes.label[rows],
        outcomes.prediction[rows],
        np.asarray(outcomes.probability)[rows],
    )
    expected = intervals(alone, draw(200, resamples=400, seed=5), confidence=0.95)
    for name, interval in expected.items():
        assert interval is not None
        assert found[name] == pytest.approx(interval, abs=0.25 * (interval[1] - interval[0])), name


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_slices(rows: int) -> None:
    outcomes = sample("binary", 145)
    found = intervals(outcomes, draw(145, resamples=100, seed=1), confidence=0.95, rows=np.arange(rows))
    assert (found["accuracy"] is None) == (rows == 1)


def test_one_class_only_has_no_auc_interval() -> None:
    outcomes = Outcomes("binary", ("no", "yes"), np.zeros(50, int), np.zeros(50, int), np.linspace(0, 0.4, 50))
    found = intervals(outcomes, draw(50, resamples=100, seed=1), confidence=0.95)
    assert found["auc"] is None
    assert found["accuracy"] == (1.0, 1.0)
