"""Late labels: joined by key, the same in any order, within bounds of time and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.monitor.labels import NEVER, LabelJoin, LabelledPredictions
from headrace.components.monitor.performance import by_window
from headrace.core import metrics

HOUR = 3_600_000_000
NOW = 100 * HOUR
WAIT = 24 * HOUR

# Key, hour and value of a prediction; key, hour when it came (None: unknown) and value of a label.
Prediction = tuple[int, int, float]
Label = tuple[int, int | None, float]


def joined(
    predictions: Sequence[Prediction], labels: Sequence[Label], *, parts: int = 1, most: int = 1000
) -> LabelledPredictions:
    join = LabelJoin("regression", (), most, WAIT, NOW)
    for part in range(parts):
        some = predictions[part::parts]
        join.add_predictions(
            np.array([_key(p[0]) for p in some], np.uint64),
            np.array([p[1] * HOUR for p in some], np.int64),
            np.array([p[2] for p in some], np.float64),
            np.zeros((len(some), 0)),
        )
    for part in range(parts):
        come = labels[part::parts]
        join.add_labels(
            np.array([_key(label[0]) for label in come], np.uint64),
            np.array([NEVER if label[1] is None else label[1] * HOUR for label in come], np.int64),
            np.array([label[2] for label in come], np.float64),
        )
    return join.result()


def _key(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15) % 2**64


def plain(found: LabelledPredictions) -> tuple[Any, ...]:
    outcomes = found.outcomes
    return (found.counts, found.times.tolist(), outcomes.label.tolist(), outcomes.prediction.tolist())


def by_hand(predictions: Sequence[Prediction], labels: Sequence[Label]) -> tuple[list[tuple[int, float, float]], int]:
    """Hour, label and prediction of what is joined, and the contradicting predictions."""
    found, contradicting = [], 0
    last = {key: max(hour for k, hour, _ in predictions if k == key) for key, _, _ in predictions}
    for key, hour, value in predictions:
        own = [(came, label) for k, came, label in labels if k == key and (came is None or came - last[key] <= 24)]
        if not own:
            continue
        latest = max(-1 if came is None else came for came, _ in own)
        values = {label for came, label in own if (-1 if came is None else came) == latest}
        if latest >= 0 and latest - hour > 24:
            continue
        if len(values) > 1:
            contradicting += 1
        else:
            found.append((hour, values.pop(), value))
    return sorted(found), contradicting


KEYS = st.integers(0, 5)
PREDICTIONS = st.lists(st.tuples(KEYS, st.integers(0, 100), st.sampled_from([1.0, 2.0, 3.5])), max_size=12)
LABELS = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.integers(0, 100)), st.sampled_from([1.0, 2.0])), max_size=12)


@given(PREDICTIONS, LABELS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_labels_in_any_order_give_the_same_as_by_hand(
    predictions: list[Prediction], labels: list[Label], parts: int, random: Any
) -> None:
    found = joined(predictions, labels)
    expected, contradicting = by_hand(predictions, labels)
    rows = zip((found.times // HOUR).tolist(), found.outcomes.label.tolist(), found.outcomes.prediction, strict=True)
    assert sorted(rows) == expected
    counts = found.counts
    assert (counts.joined, counts.contradicting) == (len(expected), contradicting)
    assert counts.predictions == counts.sampled == len(predictions)
    assert counts.joined + counts.waiting + counts.expired + counts.contradicting == len(predictions)
    assert counts.labels == len(labels)
    shuffled = random.sample(predictions, len(predictions)), random.sample(labels, len(labels))
    again = joined(*shuffled, parts=parts)
    assert plain(again) == plain(found)
    assert by_window(again, 3600) == by_window(found, 3600)


def test_predictions_without_a_label_wait_and_then_expire() -> None:
    found = joined([(1, 90, 1.0), (2, 76, 1.0), (3, 75, 1.0), (4, 10, 1.0)], [(4, 12, 1.0), (9, 12, 1.0)])
    counts = found.counts
    assert (counts.joined, counts.waiting, counts.expired) == (1, 2, 1)


def test_a_label_that_came_too_late_does_not_count() -> None:
    assert joined([(1, 10, 1.0)], [(1, 34, 2.0)]).counts.joined == 1
    late = joined([(1, 10, 1.0)], [(1, 35, 2.0)])
    assert (late.counts.joined, late.counts.expired) == (0, 1)
    # Nor does it replace the one that came in time.
    assert joined([(1, 10, 1.0)], [(1, 12, 3.0), (1, 35, 2.0)]).outcomes.label.tolist() == [3.0]


def test_the_latest_label_counts_and_contradicting_ones_do_not() -> None:
    assert joined([(1, 10, 1.0)], [(1, 12, 3.0), (1, 14, 2.0), (1, 11, 1.0)]).outcomes.label.tolist() == [2.0]
    assert joined([(1, 10, 1.0)], [(1, None, 3.0), (1, None, 3.0)]).outcomes.label.tolist() == [3.0]
    both = joined([(1, 10, 1.0)], [(1, None, 3.0), (1, None, 2.0)])
    assert (both.counts.joined, both.counts.contradicting) == (0, 1)


@pytest.mark.parametrize("parts", [1, 7])
def test_more_predictions_than_the_bound_are_sampled_by_key(parts: int) -> None:
    random = np.random.default_rng(1)
    predictions = [(key, 90, float(random.normal())) for key in range(4000) for _ in range(2)]
    labels: list[Label] = [(key, None, 0.0) for key in range(4000)]
    found = joined(predictions, labels, most=1000, parts=parts)
    counts = found.counts
    assert 400 < counts.sampled <= 1000
    assert counts.joined == counts.sampled
    assert counts.predictions == 8000
    # Each key is there with both of its rows.
    exact = sorted(value for _, _, value in predictions)
    assert len(set(found.outcomes.prediction.tolist()) & set(exact)) == counts.joined
    assert counts.sampled % 2 == 0
    assert plain(found) == plain(joined(predictions[::-1], labels, most=1000))
    error = metrics.measure(found.outcomes)["root_mean_squared_error"]
    assert error == pytest.approx(1.0, abs=0.1)


def test_a_key_with_more_rows_than_the_bound_leaves_nothing_in_memory() -> None:
    found = joined([(1, 90, 1.0)] * 50, [(1, None, 1.0)], most=10)
    assert (found.counts.predictions, found.counts.sampled, found.counts.joined) == (50, 0, 0)


def test_labels_that_come_again_and_again_are_bounded() -> None:
    join = LabelJoin("regression", (), 10, WAIT, NOW)
    keys = np.array([_key(1)], np.uint64)
    join.add_predictions(keys, np.array([90 * HOUR]), np.array([1.0]), np.zeros((1, 0)))
    for number in range(200):
        join.add_labels(keys, np.array([(90 + number % 7) * HOUR]), np.array([float(number % 7)]))
        assert sum(len(part[0]) for part in join._labels) <= 41
    assert join.result().outcomes.label.tolist() == [6.0]


def test_classes_and_probabilities_are_joined_too() -> None:
    join = LabelJoin("multiclass", ("a", "b", "c"), 10, WAIT, NOW)
    keys = np.array([_key(1), _key(2)], np.uint64)
    times = np.array([90, 80]) * HOUR
    join.add_predictions(keys, times, np.array([2.0, 0.0]), np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]]))
    join.add_labels(keys, np.array([NEVER, NEVER]), np.array([2.0, 1.0]))
    outcomes = join.result().outcomes
    assert outcomes.label.tolist() == [1, 2]
    assert outcomes.prediction.tolist() == [0, 2]
    assert outcomes.probability is not None
    assert outcomes.probability.tolist() == [[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]
    assert metrics.measure(outcomes)["accuracy"] == 0.5
    nothing = LabelJoin("multiclass", ("a", "b", "c"), 10, WAIT, NOW).result()
    assert nothing.counts.joined == 0
