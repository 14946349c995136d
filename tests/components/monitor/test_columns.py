"""Counts of a column's values: in which cell, by window, and what is missing, new or invalid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.monitor.columns import LISTED, SINGLE_MAXIMUM, NumberColumn, category_column
from headrace.components.monitor.compare import compare
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.statistics.binned import Bins, CategoryCounts, NumberCounts

PROBLEM = Problem(name="p", key="id", label=Numeric("y"), features=[Categorical("c")], missing=["NA"])
ONE = np.zeros(1, np.int64)


def numbers(values: pa.Array, windows: Any = None, count: int = 1, **declared: Any) -> list[NumberCounts]:
    column = NumberColumn(Numeric("n", **declared), Bins.fixed([0.0, 10.0]), 0, ("NA",))
    local = np.zeros(len(values), np.int64) if windows is None else np.array(windows)
    return column.count(values, local, count)


def categories(values: pa.Array, rows: dict[str, int], **options: Any) -> CategoryCounts:
    declared = options.pop("declared", Categorical("c"))
    given = {"count": sum(rows.values()), "missing": 0, "complete": True, **options}
    column = category_column(PROBLEM, declared, rows, **given)
    (found,) = column.count(values, np.zeros(len(values), np.int64), 1)
    return found


def test_numbers_out_of_bounds_are_counted_as_numbers_too() -> None:
    (found,) = numbers(pa.array([-5.0, 0.0, 3.0, 10.0, 99.0, None, float("nan")]), minimum=0, maximum=50)
    assert found.cells.tolist() == [1, 1, 1, 1, 1]
    assert (found.missing, found.invalid, found.minimum, found.maximum) == (2, 2, -5.0, 99.0)


def test_numbers_beyond_float32_are_its_greatest() -> None:
    (found,) = numbers(pa.array([1e300, -1e300, 1.0]))
    assert (found.count, found.invalid) == (3, 2)
    assert -found.minimum == found.maximum == SINGLE_MAXIMUM


def test_texts_are_numbers_missing_values_or_neither() -> None:
    (found,) = numbers(pa.array(["3", " NA ", "", None, "many", "inf"]))
    assert (found.count, found.missing, found.invalid) == (1, 3, 2)


def test_windows_are_counted_apart() -> None:
    first, second, third = numbers(pa.array([1.0, 20.0, None, 0.0]), [0, 0, 2, 2], 3)
    assert (first.cells.tolist(), second.count, third.cells.tolist()) == ([0, 0, 1, 0, 1], 0, [0, 1, 0, 0, 0])
    assert (second.minimum, second.maximum, third.missing) == (np.inf, -np.inf, 1)


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match='"n" holds no numbers'):
        numbers(pa.array([[1.0]]))
    with pytest.raises(DataError, match='"c" holds no categories'):
        categories(pa.array([[1.0]]), {"a": 1})


@pytest.mark.parametrize("coded", [False, True])
def test_categories_are_listed_known_new_or_missing(coded: bool) -> None:
    values = pa.array(["a", "b", "new", "NA", "", None, "a", "other"])
    found = categories(values.dictionary_encode() if coded else values, {"b": 9, "a": 1})
    # b, a, other known ones, new ones.
    assert found.cells.tolist() == [1, 2, 0, 2]
    assert (found.missing, found.invalid, dict(found.new)) == (3, 0, {"new": 1, "other": 1})


def test_bytes_that_are_no_text_are_invalid() -> None:
    found = categories(pa.array([b"a", b"\xff"]), {"a": 1})
    assert (found.cells.tolist(), found.invalid) == ([1, 0, 0], 1)


def test_values_of_typed_columns_are_categories_of_the_vocabulary() -> None:
    declared = Categorical("c", vocabulary=["1", "2"])
    found = categories(pa.array([1, 2, 3, 2]), {"1": 5}, declared=declared)
    assert (found.cells.tolist(), dict(found.new)) == ([1, 2, 0, 1], {"3": 1})
    flags = categories(pa.array([True, False, None]), {"True": 5}, declared=Categorical("c", vocabulary=["True"]))
    assert (flags.cells.tolist(), flags.missing) == ([1, 0, 1], 1)


def test_of_many_categories_the_most_frequent_have_a_cell() -> None:
    rows = {f"c{place}": 10_000 - place for place in range(LISTED + 5)}
    found = categories(pa.array(["c0", f"c{LISTED + 1}", "new"]), rows)
    assert (found.cells[0], found.cells[-2], found.cells[-1]) == (1, 1, 1)


def test_new_categories_are_not_judged_where_the_reference_is_not_complete() -> None:
    column = category_column(PROBLEM, Categorical("c"), {"a": 60}, count=100, missing=0, complete=False)
    (found,) = column.count(pa.array(["a"] * 300 + ["b"] * 200), np.zeros(500, np.int64), 1)
    report = compare(column, found, 500)
    assert "unknown" not in report.distances
    assert not report.distances["skew"].significant
    assert report.facts["new_categories"] == []


@given(st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "x", "NA"])), max_size=30), st.integers(0, 30))
def test_any_split_of_categories_merges_to_the_same(values: list[str | None], cut: int) -> None:
    def of(some: list[str | None]) -> CategoryCounts:
        return categories(pa.array(some, pa.string()), {"a": 1, "b": 1})

    whole, merged = of(values), of(values[:cut]).merge(of(values[cut:]))
    assert merged.cells.tolist() == whole.cells.tolist()
    assert (merged.missing, merged.new) == (whole.missing, whole.new)
    assert whole.count + whole.missing == len(values)


def test_fractions_of_missing_values_are_compared_with_the_reference() -> None:
    column = NumberColumn(Numeric("n"), Bins.of_counts([0.0], np.array([0, 900, 0])), 100)
    (found,) = column.count(pa.array([0.0] * 700 + [None] * 300), np.zeros(1000, np.int64), 1)
    report = compare(column, found, 1000)
    assert report.distances["missing"].value == pytest.approx(0.2)
    assert report.distances["missing"].significant
    assert compare(column, column.empty(), 0).distances == {}
