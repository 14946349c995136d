"""Guilty rows are found with as many calls as theory says, and the rest is answered in order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.scoring.bisect import RowsFailed, answered


class Model:
    """Fails on calls that hold a guilty row, and counts calls."""

    def __init__(self, guilty: set[int]) -> None:
        self.guilty = guilty
        self.calls: list[tuple[int, int]] = []

    def __call__(self, begin: int, end: int) -> list[int]:
        self.calls.append((begin, end))
        bad = self.guilty & set(range(begin, end))
        if bad:
            raise RowsFailed(f"row {min(bad)}")
        return list(range(begin, end))


def test_a_batch_without_guilty_rows_is_one_call() -> None:
    model = Model(set())
    assert answered(model, 16_384) == ([list(range(16_384))], {})
    assert model.calls == [(0, 16_384)]


@pytest.mark.parametrize(("row", "calls"), [(0, 16), (16_383, 16), (8_192, 16)])
def test_one_guilty_row_among_16384_costs_a_few_calls(row: int, calls: int) -> None:
    model = Model({row})
    answers, failed = answered(model, 16_384)
    assert failed == {row: f"row {row}"}
    assert [i for piece in answers for i in piece] == [i for i in range(16_384) if i != row]
    assert len(model.calls) == calls


def test_one_row_in_a_hundred_costs_less_than_a_tenth_of_a_call_a_row() -> None:
    chosen = np.random.default_rng(0).choice(16_384, 164, replace=False)
    model = Model({int(row) for row in chosen})
    assert len(answered(model, 16_384)[1]) == 164
    # Information theory asks for 1,324 at least.
    assert len(model.calls) == 1_463


def test_when_all_are_guilty_it_costs_little_more_than_a_call_a_row() -> None:
    model = Model(set(range(1_000)))
    assert len(answered(model, 1_000)[1]) == 1_000
    assert len(model.calls) == 1_018


def test_rows_are_not_blamed_for_a_call_that_was_too_large() -> None:
    calls = []

    def small_only(begin: int, end: int) -> int:
        calls.append(end - begin)
        if end - begin > 100:
            raise RowsFailed("out of memory")
        return end - begin

    answers, failed = answered(small_only, 1_000)
    assert (sum(answers), failed) == (1_000, {})
    assert len(calls) < 60


def test_no_row_is_blamed_for_a_call_with_another() -> None:
    model = Model({3, 4})
    _, failed = answered(model, 8)
    assert failed == {3: "row 3", 4: "row 4"}
    assert {(3, 4), (4, 5)} <= set(model.calls)


def test_nothing_is_called_for_no_rows() -> None:
    model = Model(set())
    assert answered(model, 0) == ([], {})
    assert model.calls == []


def test_another_error_ends_it() -> None:
    def call(begin: int, end: int) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        answered(call, 4)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_every_row_is_answered_or_blamed(case: tuple[int, set[int]]) -> None:
    rows, guilty = case
    model = Model(guilty)
    answers, failed = answered(model, rows)
    assert set(failed) == guilty
    assert [i for piece in answers for i in piece] == sorted(set(range(rows)) - guilty)
    assert len(model.calls) <= 1 + len(guilty) * (2 * math.ceil(math.log2(rows)) + 3)
