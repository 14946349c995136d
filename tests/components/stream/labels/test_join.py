"""The windowed join: metrics by window and version, whatever order rows arrive in, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.stream.labels.join import MeasuredWindow, WindowedJoin
from headrace.core.problem import Categorical, Numeric, Problem

REGRESSION = Problem("taxi", label=Numeric("fare", minimum=0), features=[Numeric("miles")], key="ride")
BINARY = Problem(
    "click", label=Categorical("clicked", vocabulary=["no", "yes"]), features=[Numeric("miles")], key="ride"
)
SECOND = 1_000_000


def times(*seconds: float) -> Any:
    return np.array([int(each * SECOND) for each in seconds], np.int64)


def join_of(problem: Problem = REGRESSION, most: int = 1000) -> WindowedJoin:
    return WindowedJoin(problem, window_s=10, wait_s=20, most=most)


def predict(join: WindowedJoin, *rows: tuple[str | None, float, Any], version: str = "v1") -> None:
    made = [{"prediction": value, "model_version": version} for _, _, value in rows]
    join.add_predictions(made, [key for key, _, _ in rows], times(*(at for _, at, _ in rows)))


def label(join: WindowedJoin, *rows: tuple[str | None, float, Any]) -> None:
    join.add_labels([value for _, _, value in rows], [key for key, _, _ in rows], times(*(at for _, at, _ in rows)))


def rmse(window: MeasuredWindow) -> float:
    assert window.metrics is not None
    value = window.metrics.values["root_mean_squared_error"]
    assert value is not None
    return value


def test_a_window_is_measured_once_its_labels_have_come() -> None:
    join = join_of()
    predict(join, ("a", 101, 10.0), ("b", 109, 20.0), ("c", 110, 5.0))
    label(join, ("a", 103, 13.0), ("b", 128, 16.0))
    assert join.measure(129 * SECOND) == []
    (window,) = join.measure(130 * SECOND)
    assert (window.begin, window.end, window.version) == (100, 110, "v1")
    assert rmse(window) == pytest.approx(np.sqrt((9 + 16) / 2))
    assert (window.counts.predictions, window.counts.joined) == (2, 2)
    assert join.measure(139 * SECOND) == []
    (last,) = join.measure(140 * SECOND)
    assert (last.metrics, last.counts.predictions, last.counts.joined) == (None, 1, 0)


def test_versions_are_measured_apart() -> None:
    join = join_of()
    predict(join, ("a", 101, 10.0))
    predict(join, ("b", 102, 10.0), version="v2")
    label(join, ("a", 103, 13.0), ("b", 103, 11.0))
    assert [(window.version, rmse(window)) for window in join.measure(130 * SECOND)] == [("v1", 3.0), ("v2", 1.0)]


def test_a_label_that_is_late_does_not_count_and_an_early_one_does() -> None:
    join = join_of()
    label(join, ("early", 85, 12.0))
    predict(join, ("early", 101, 10.0), ("late", 101, 10.0))
    label(join, ("late", 122, 99.0))
    (window,) = join.measure(130 * SECOND)
    assert (rmse(window), window.counts.joined, window.counts.expired) == (2.0, 1, 1)


def test_what_comes_after_its_window_was_measured_is_counted() -> None:
    join = join_of()
    predict(join, ("a", 101, 10.0))
    join.measure(130 * SECOND)
    predict(join, ("b", 109, 10.0), ("c", 111, 10.0))
    assert join.late == 1
    assert [window.counts.predictions for window in join.measure(140 * SECOND)] == [1]


def test_what_is_not_valid_is_counted() -> None:
    join = join_of()
    predict(join, (None, 101, 1.0), ("a", 101, None), ("b", 101, "many"), ("c", 101, 1.0))
    label(join, ("c", 102, -5.0), (None, 102, 1.0), ("c", 102, {"x": 1}), ("c", 103, 2.0))
    assert join.invalid == 6
    (window,) = join.measure(130 * SECOND)
    assert (window.counts.predictions, rmse(window)) == (1, 1.0)


def test_classes_are_measured_with_their_probabilities() -> None:
    join = join_of(BINARY)
    rows = [
        {"prediction": "yes", "probability": 0.9, "model_version": "v1"},
        {"prediction": "no", "probability": 0.2, "model_version": "v1"},
        {"prediction": "no", "model_version": "v1"},
    ]
    join.add_predictions(rows, ["a", "b", "c"], times(101, 101, 101))
    label(join, ("a", 102, "yes"), ("b", 102, "yes"))
    (window,) = join.measure(130 * SECOND)
    assert join.invalid == 1
    assert window.metrics is not None
    assert window.metrics.values["accuracy"] == 0.5


@pytest.mark.parametrize("value", [[1.0], [[1.0]], {"x": [1]}, "\x00", True, 10**30, None])
def test_a_value_of_any_form_alone_in_its_batch_is_counted(value: Any) -> None:
    join = join_of()
    predict(join, ("a", 101, value))
    label(join, ("a", 102, value))
    predict(join, ("c", 101, 1.0))
    label(join, ("c", 103, 2.0))
    (window,) = join.measure(130 * SECOND)
    assert join.invalid + 2 * (window.counts.predictions - 1) == 2


CLASSES = Problem(
    "color", label=Categorical("color", vocabulary=["red", "green", "blue"]), features=[Numeric("miles")], key="ride"
)


@pytest.mark.parametrize("value", [None, 0.5, "no", {"red": 1.0}, [], [0.5, 0.5], [0.5, 0.5, "0"], [0.5, 0.5, 10**400]])
def test_probabilities_of_another_form_are_counted(value: Any) -> None:
    join = join_of(CLASSES)
    for some in (value, [0.8, 0.1, 0.1]):
        join.add_predictions([{"prediction": "red", "probabilities": some}], ["a"], times(101))
    label(join, ("a", 102, "red"))
    assert join.invalid == 1
    (window,) = join.measure(130 * SECOND)
    assert window.counts.predictions == 1


def test_memory_is_bounded_by_a_sample_of_keys() -> None:
    join = join_of(most=100)
    for second in range(100, 110):
        predict(join, *((f"{second}-{at}", second, 10.0) for at in range(100)))
        label(join, *((f"{second}-{at}", second, 12.0) for at in range(100)))
        assert max(join.buffered) <= 100
    (window,) = join.measure(130 * SECOND)
    assert 20 <= window.counts.joined <= 100
    assert window.counts.joined == window.counts.predictions
    assert rmse(window) == 2.0
    join.measure(200 * SECOND)
    assert join.buffered == (0, 0)


def test_labels_that_no_open_window_can_need_take_no_memory() -> None:
    join = join_of(most=10)
    join.measure(130 * SECOND)
    # As after a restart: a topic is read from its beginning.
    for second in range(85):
        label(join, (f"old{second}", second, 1.0))
    label(join, ("old", 89.9, 1.0), ("a", 91, 13.0))
    assert join.buffered == (0, 1)
    predict(join, *((str(at), 110, 10.0) for at in range(9)), ("a", 110, 10.0))
    (window,) = join.measure(140 * SECOND)
    assert (window.counts.predictions, rmse(window)) == (10, 3.0)


ROWS = st.tuples(st.integers(0, 5), st.integers(100, 125), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=12), st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(predictions: Any, labels: Any, chance: Any) -> None:
    def measured(shuffled: bool) -> list[MeasuredWindow]:
        join = join_of()
        actions = [lambda row=row: predict(join, (f"{row[0]}", row[1], row[2])) for row in predictions]
        actions += [lambda row=row: label(join, (f"{row[0]}", row[1], row[2])) for row in labels]
        if shuffled:
            chance.shuffle(actions)
        for action in actions:
            action()
        return join.measure(1000 * SECOND)

    assert measured(shuffled=True) == measured(shuffled=False)
