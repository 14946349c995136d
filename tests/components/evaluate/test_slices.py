"""Slices: every row in exactly one of a feature's, in an order that does not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.evaluate.slices import FEW_VALUES, MOST_SMALL_SLICES, Category, SliceRows, cut
from headrace.core.problem import Categorical, Numeric

AGE = Numeric("age", buckets=[20, 25.5], optional=True)
KIND = Categorical("kind", optional=True)


def named(slices: list[SliceRows]) -> list[tuple[str, list[int]]]:
    return [(f"{s.feature}={s.value}", s.rows.tolist()) for s in slices]


def test_buckets_hold_their_lower_boundary() -> None:
    ages = np.array([19.999, 20, 25, 25.5, np.nan, 99], np.float32)
    slices, left_out = cut([AGE], {"age": ages}, judged=["age"], minimum_size=1)
    assert named(slices) == [
        ("age=< 20", [0]),
        ("age=[20, 25.5)", [1, 2]),
        ("age=>= 25.5", [3, 5]),
        ("age=(missing)", [4]),
    ]
    assert left_out == {}


def test_buckets_compare_in_float32_as_the_model_does() -> None:
    feature = Numeric("share", buckets=[0.1])
    slices, _ = cut([feature], {"share": np.array([0.1], np.float32)}, judged=["share"], minimum_size=1)
    assert named(slices) == [("share=>= 0.1", [0])]


def test_boundaries_beyond_float32_are_beyond_every_number() -> None:
    largest = float(np.finfo(np.float32).max)
    values = np.array([-largest, -1.0, 0.0, 1.0, largest], np.float32)
    slices, _ = cut([Numeric("x", buckets=[-1e300, 0.5, 1e300])], {"x": values}, judged=["x"], minimum_size=1)
    assert named(slices) == [("x=[-1e+300, 0.5)", [0, 1, 2]), ("x=[0.5, 1e+300)", [3, 4])]


def test_the_commonest_value_comes_first_and_missing_ones_last() -> None:
    column = Category(("", "b", "a", "c"), np.array([0, 0, 0, 1, 2, 3, 3], np.int64))
    slices, _ = cut([KIND], {"kind": column}, judged=["kind"], minimum_size=1)
    assert named(slices) == [("kind=c", [5, 6]), ("kind=a", [4]), ("kind=b", [3]), ("kind=(missing)", [0, 1, 2])]


def test_the_gates_slices_come_first_and_others_only_where_they_are_few() -> None:
    many = Category(tuple(map(str, range(FEW_VALUES + 1))), np.arange(FEW_VALUES + 1))
    few = Category(("x",), np.zeros(FEW_VALUES + 1, np.int64))
    features = [Categorical("many"), Categorical("few"), Categorical("also_many")]
    columns = {"many": many, "few": few, "also_many": many}
    slices, _ = cut(features, columns, judged=["also_many"], minimum_size=1)
    assert list(dict.fromkeys(s.feature for s in slices)) == ["also_many", "few"]


def test_of_very_many_small_values_the_largest_are_kept_and_the_rest_counted() -> None:
    codes = np.concatenate([np.arange(1000), np.arange(300), np.zeros(50, int)])
    column = Category(tuple(f"{i:04d}" for i in range(1000)), codes)
    slices, left_out = cut([KIND], {"kind": column}, judged=["kind"], minimum_size=20)
    assert left_out == {"kind": 999 - MOST_SMALL_SLICES}
    assert [len(s.rows) for s in slices] == [52] + [2] * MOST_SMALL_SLICES


@given(st.lists(st.none() | st.floats(-50, 150, width=32), max_size=60), st.sampled_from(["age", "kind"]))
def test_every_row_is_in_exactly_one_slice(values: list[float | None], name: str) -> None:
    ages = np.array([np.nan if v is None else v for v in values], np.float32)
    different, codes = np.unique(["" if v is None else str(int(v) % 7) for v in values], return_inverse=True)
    columns: dict[str, Any] = {"age": ages, "kind": Category(tuple(map(str, different)), codes.astype(np.int64))}
    slices, left_out = cut([AGE, KIND], columns, judged=[name], minimum_size=5)
    assert not left_out
    for feature in ("age", "kind"):
        rows = [row for s in slices if s.feature == feature for row in s.rows.tolist()]
        assert sorted(rows) == list(range(len(values)))


def test_a_feature_without_a_column_is_not_sliced_by() -> None:
    slices, left_out = cut([AGE, KIND], {}, judged=["age"], minimum_size=1)
    assert (slices, left_out) == ([], {})


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows: int) -> None:
    slices, _ = cut([AGE], {"age": np.zeros(rows, np.float32)}, judged=["age"], minimum_size=1)
    assert len(slices) == rows
