"""Columns of Arrow of every type and layout, as what a model takes."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.saved_model.interface import ModelInput
from headrace.core.scoring.feeds import Feed, Feeds, rows_of_one_shape
from headrace.core.scoring.to_tensors import feeds_of

NAN = float("nan")


def feed(column: Any, dtype: str, *, optional: bool = False, width: int | None = None) -> Feeds:
    """The feeds of one input `x` from one column."""
    array = column if isinstance(column, pa.Array) else pa.array(column)
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    return feeds_of(batch, [ModelInput("x", dtype, width, ("x",), optional)])


def numbers(made: Feeds) -> Any:
    values = made.feeds[0].numbers
    assert values is not None
    return values


def texts(made: Feeds) -> list[Any]:
    found: list[Any] = made.feeds[0].texts[0].to_pylist()
    return found


def faults(made: Feeds) -> dict[str, list[int]]:
    return {fault.reason: np.flatnonzero(fault.rows).tolist() for fault in made.faults}


def test_a_column_of_the_models_own_type_is_not_copied() -> None:
    column = pa.array([1.5, 2.5], pa.float32())
    values = numbers(feed(column, "float32"))
    assert values.__array_interface__["data"][0] == column.buffers()[1].address


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 2], pa.int8()), [1.0, 2.0]),
        (pa.array([1.25, 2.5], pa.float64()), [1.25, 2.5]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array(["1.5", " 2 "]), [1.5, 2.0]),
        (pa.array(["1.5", "2"], pa.large_string()), [1.5, 2.0]),
        (pa.array(["1.5", "2"]).dictionary_encode(), [1.5, 2.0]),
        (pa.array([3, 4]).dictionary_encode(), [3.0, 4.0]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("-2.00")]), [1.5, -2.0]),
        (pa.array([(1 << 53) + 1, 1 << 60], pa.int64()), [float(1 << 53), float(1 << 60)]),
        (pa.array([(1 << 64) - 1], pa.uint64()), [float(1 << 64)]),
    ],
)
def test_whatever_says_a_number_is_that_number(column: pa.Array, expected: list[float]) -> None:
    made = feed(column, "float32")
    assert numbers(made).dtype == np.float32
    assert numbers(made).tolist() == expected
    assert made.faults == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_is_the_models(dtype: str) -> None:
    assert numbers(feed([1.5, None], dtype, optional=True)).dtype == dtype


def test_what_is_missing_is_nan_if_it_may_be_and_else_a_fault() -> None:
    columns: list[pa.Array] = [
        pa.array([1.0, None, NAN], pa.float32()),
        pa.array(["1", "", None]),
        pa.array([1, None, None], pa.int64()),
        pa.array([1, None, None], pa.int64()).dictionary_encode(),
    ]
    for column in columns:
        made = feed(column, "float32", optional=True)
        np.testing.assert_array_equal(numbers(made), np.array([1, NAN, NAN], np.float32))
        assert made.faults == []
        assert faults(feed(column, "float32")) == {"missing_value": [1, 2]}
    assert feed(pa.nulls(2), "float32", optional=True).faults == []
    assert faults(feed(pa.nulls(2), "float32")) == {"missing_value": [0, 1]}


def test_numbers_that_are_none_or_beyond_are_faults() -> None:
    made = feed(["1", "x", "inf", "1e39", "-1e400", "1e38"], "float32", optional=True)
    assert faults(made) == {"not_a_number": [1, 2], "out_of_range": [3, 4]}
    assert [fault.message('"x"') for fault in made.faults] == [
        'x is "x", which is not a finite number',
        'x is "x", which is not between -3.40282e+38 and 3.40282e+38',
    ]
    assert faults(feed([1.0, math.inf, -math.inf], "float64")) == {"not_a_number": [1, 2]}
    assert faults(feed([1.0, 1e39], "float32")) == {"out_of_range": [1]}
    assert faults(feed([1.0, 65_520.0], "float16")) == {"out_of_range": [1]}
    assert numbers(feed([65_504.0, 65_519.0, None], "float16", optional=True))[:2].tolist() == [65_504.0] * 2
    assert faults(feed([1.0, 3.4e38], "bfloat16")) == {"out_of_range": [1]}


def test_integers() -> None:
    assert numbers(feed([1, 255], "uint8")).tolist() == [1, 255]
    assert numbers(feed(["-7", "8"], "int64")).tolist() == [-7, 8]
    assert numbers(feed([2.0, -3.0], "int32")).tolist() == [2, -3]
    assert numbers(feed([True, False], "int32")).tolist() == [1, 0]
    assert numbers(feed([decimal.Decimal("5.0")], "int64")).tolist() == [5]
    assert numbers(feed(["3.0", "4"], "int64")).tolist() == [3, 4]
    assert numbers(feed([(1 << 63) - 1, -(1 << 63)], "int64")).tolist() == [(1 << 63) - 1, -(1 << 63)]
    assert numbers(feed([str((1 << 64) - 1)], "uint64")).tolist() == [(1 << 64) - 1]
    assert numbers(feed(pa.array([5, 6]).dictionary_encode(), "int64")).tolist() == [5, 6]
    assert faults(feed([1, 256, -1], "uint8")) == {"out_of_range": [1, 2]}
    assert faults(feed(pa.array([(1 << 64) - 1], pa.uint64()), "int64")) == {"out_of_range": [0]}
    assert faults(feed([1.5, 2.0, NAN], "int64")) == {"not_a_number": [0], "missing_value": [2]}
    assert faults(feed(["1.5", "2", "x", ""], "int64")) == {"not_a_number": [0, 2], "missing_value": [3]}
    assert faults(feed([1e19, 2.0**63, -(2.0**63)], "int64")) == {"out_of_range": [0, 1]}
    assert faults(feed([decimal.Decimal("5.5")], "int64")) == {"not_a_number": [0]}


def test_an_integer_has_no_missing_value_even_if_it_may_be_missing() -> None:
    made = feed([1, None], "int64", optional=True)
    assert faults(made) == {"missing_value": [1]}
    assert made.faults[0].message("") == "x is missing, and int64 has no missing value"


def test_booleans() -> None:
    for column in ([True, False], [1, 0], ["true", "FALSE"], ["1", "0"], [1.0, 0.0]):
        assert numbers(feed(column, "bool")).tolist() == [True, False]
    assert faults(feed(["yes", "", None, "true"], "bool")) == {"missing_value": [1, 2], "unknown_value": [0]}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([1, 20], ["1", "20"]),
        ([1.0, 1.5], ["1", "1.5"]),
        ([True, False], ["true", "false"]),
        ([decimal.Decimal("1.50"), decimal.Decimal("2.00")], ["1.5", "2"]),
        ([datetime.date(2024, 1, 2)], ["2024-01-02"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        ([b"\xff\x00"], [b"\xff\x00"]),
        (pa.array([b"\xff\x00"], pa.large_binary()), [b"\xff\x00"]),
        (pa.array([b"\xff\x00"], pa.binary(2)), [b"\xff\x00"]),
        (["ä", "日本"], ["ä", "日本"]),
    ],
)
def test_whatever_has_a_text_is_that_text(column: Any, expected: list[Any]) -> None:
    made = feed(column, "string")
    assert (texts(made), made.faults) == (expected, [])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_a_text_that_is_missing_or_empty_is_empty_if_it_may_be_and_else_a_fault(kind: pa.DataType) -> None:
    column = pa.array(["a", None, ""]).cast(kind)
    empty: Any = b"" if kind == pa.binary() else ""
    made = feed(column, "string", optional=True)
    assert texts(made)[1:] == [empty, empty]
    assert made.faults == []
    assert faults(feed(column, "string")) == {"missing_value": [1, 2]}


def test_dictionaries_stay_dictionaries_where_nothing_is_missing() -> None:
    made = feed(pa.array(["b", "a", "b"]).dictionary_encode(), "string")
    assert pa.types.is_dictionary(made.feeds[0].texts[0].type)
    assert texts(made) == ["b", "a", "b"]
    integers = feed(pa.array([7, 8, 7]).dictionary_encode(), "string")
    assert texts(integers) == ["7", "8", "7"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, ""]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", None, ""])),
        pa.array(["a", None, None]).dictionary_encode(),
        pa.array([1.0, None, NAN]).dictionary_encode(),
    ],
)
def test_what_is_missing_in_a_dictionary(column: pa.Array) -> None:
    made = feed(column, "string", optional=True)
    assert texts(made)[1:] == ["", ""]
    assert faults(feed(column, "string")) == {"missing_value": [1, 2]}


@pytest.mark.parametrize(
    ("column", "dtype", "kind"),
    [
        ([datetime.datetime(2024, 1, 2)], "float32", "timestamp"),
        ([datetime.date(2024, 1, 2)], "int64", "date32"),
        ([b"1"], "float32", "binary"),
        ([[1.0]], "float32", "list"),
        ([{"a": 1}], "string", "struct"),
        ([[1.0]], "string", "list"),
    ],
)
def test_a_column_that_cannot_be_what_the_model_takes_is_refused(column: Any, dtype: str, kind: str) -> None:
    with pytest.raises(DataError, match=rf"x: a column of {kind}.* is not what the model accepts.*input x {dtype}"):
        feed(column, dtype)


def test_a_column_that_is_not_there() -> None:
    batch = pa.RecordBatch.from_pydict({"y": [1, 2]})
    made = feeds_of(
        batch, [ModelInput("x", "float32", None, ("x",), True), ModelInput("s", "string", None, ("s",), True)]
    )
    assert np.isnan(numbers(made)).all()
    assert made.feeds[1].texts[0].to_pylist() == ["", ""]
    with pytest.raises(
        DataError, match=r"x: a column is missing from the rows. Expected a column x, for the model's input x"
    ):
        feeds_of(batch, [ModelInput("x", "float32", None, ("x",))])


def test_columns_become_one_dense_input() -> None:
    batch = pa.RecordBatch.from_pydict({"b": [3, 4], "a": [1.5, None]})
    made = feeds_of(batch, [ModelInput("x", "float32", 2, ("a", "b"))])
    assert numbers(made)[0].tolist() == [1.5, 3.0]
    assert faults(made) == {"missing_value": [1]}
    assert made.faults[0].column == "a"
    words = feeds_of(pa.RecordBatch.from_pydict({"b": ["x"], "a": [1]}), [ModelInput("x", "string", 2, ("a", "b"))])
    assert [column.to_pylist() for column in words.feeds[0].texts] == [["1"], ["x"]]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32())])
def test_a_column_of_lists_becomes_one_dense_input(kind: pa.DataType) -> None:
    column = pa.array([[1, 2], None, [3], [4, 5, 6], [7, None], [8, 9]], kind)
    made = feed(column, "float32", width=2)
    assert [(fault.reason, np.flatnonzero(fault.rows).tolist()) for fault in made.faults] == [
        ("missing_value", [1]),
        ("too_few_fields", [2]),
        ("too_many_fields", [3]),
        ("missing_value", [4]),
    ]
    assert numbers(made)[[0, 5]].tolist() == [[1, 2], [8, 9]]


def test_a_column_of_fixed_lists_and_of_texts() -> None:
    column = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    assert numbers(feed(column.slice(1), "float32", width=2)).tolist() == [[3.0, 4.0]]
    made = feed([["a", "b"], None, ["c", "d"]], "string", width=2, optional=True)
    assert [c.to_pylist()[::2] for c in made.feeds[0].texts] == [["a", "c"], ["b", "d"]]
    with pytest.raises(DataError, match=r"x: the column is not of lists. Expected lists of 2 values"):
        feed([{"a": 1.0}], "float32", width=2)
    assert numbers(feed([[1.0, 2.0, 3.0]], "float32", width=0)).shape == (1, 3)


def test_feeds_are_sliced_and_chosen() -> None:
    def read(chosen: Feed) -> list[str]:
        if chosen.numbers is None:
            return list(chosen.texts[0].to_pylist())
        return [str(int(value)) for value in chosen.numbers.tolist()]

    for made in (feed([1, 2, 3], "float32"), feed(["1", "2", "3"], "string")):
        one = made.feeds[0]
        assert read(one.slice(1, 3)) == ["2", "3"]
        assert read(one.where(np.array([True, False, True]))) == ["1", "3"]


_values = st.lists(st.none() | st.floats(width=32, allow_infinity=False) | st.integers(-1000, 1000).map(float))


@given(_values, st.integers(0, 3), st.sampled_from(["plain", "text", "dictionary", "double"]))
def test_any_layout_of_numbers_gives_the_same(values: list[float | None], offset: int, layout: str) -> None:
    column = pa.array(values, pa.float32())
    if layout == "text":
        column = pa.array([None if v is None or v != v else repr(float(np.float32(v))) for v in values], pa.string())
    elif layout == "dictionary":
        column = column.dictionary_encode()
    elif layout == "double":
        column = column.cast(pa.float64())
    made = feed(column.slice(offset), "float32", optional=True)
    expected = np.array([NAN if v is None else v for v in values[offset:]], np.float32)
    np.testing.assert_array_equal(numbers(made), expected)
    missing = np.flatnonzero(np.isnan(expected)).tolist()
    assert faults(feed(column.slice(offset), "float32")) == ({"missing_value": missing} if missing else {})


_texts = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=30), max_size=60)
_KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]


@given(
    st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=30), max_size=60),
    st.integers(0, 3),
    st.sampled_from(_KINDS),
)
def test_any_layout_of_texts_gives_the_same_tensor(values: list[str | None], offset: int, kind: pa.DataType) -> None:
    from headrace.core.scoring.tensors import tensors_of

    plain = pa.array(values, pa.string())
    column = plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)
    made = feed(column.slice(offset), "string", optional=True)
    expected = [(v or "").encode() for v in values[offset:]]
    if expected:
        tensor = tensors_of(made.feeds, len(expected), len(expected) + 5, None)["x"]
        assert tensor.numpy().tolist() == expected + expected[-1:] * 5
    missing = [i for i, v in enumerate(expected) if not v]
    assert faults(feed(column.slice(offset), "string")) == ({"missing_value": missing} if missing else {})


def test_lists_written_as_text_and_what_is_none_among_them() -> None:
    made = feed(["[1, 9007199254740993]", "7", None, "[1, 2.5]", "[1]", "[", "[3, 4]"], "int64", width=2)
    assert numbers(made)[[0, 6]].tolist() == [[1, 9007199254740993], [3, 4]]
    assert faults(made) == {"malformed_row": [5], "missing_value": [2], "too_few_fields": [1, 4], "not_a_number": [3]}


@pytest.mark.parametrize("width", [0, 2])
def test_a_list_of_another_depth_is_a_fault_of_its_row_alone(width: int) -> None:
    odd = ["[[1, 2]]", '[{"a": 1}, 2]', "[[1], 2]", '{"a": 1}', "[" + "7" * 5000 + ", 1]"]
    made = feed(["[1, 2]", *odd, "[3, 4]"], "float32", width=width)
    assert faults(made) == {"malformed_row": [1, 2, 3, 4, 5]}
    assert numbers(Feeds(2, [made.feeds[0].take(np.array([0, 6]))])).tolist() == [[1, 2], [3, 4]]
    # None at all is right.
    assert faults(feed(odd[:1], "float32", width=width)) == {"malformed_row": [0]}


def test_so_is_one_of_nested_lists() -> None:
    taken = ModelInput("x", "float32", 4, ("x",), dims=(2, 2))
    column = pa.array(["[[1, 2], [3, 4]]", "[1, 2]", "7", "[[1, 2], 3]", "[[[1, 2]], [[3, 4]]]", "[[5, 6], [7, 8]]"])
    made = feeds_of(pa.record_batch({"x": column}), [taken])
    assert faults(made) == {"malformed_row": [1, 2, 3, 4]}
    assert made.feeds[0].numbers[[0, 5]].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_integers_do_not_depend_on_their_neighbours() -> None:
    ids = [str(9007199254740993 + 2 * n) for n in range(3)]
    for beside, fault in (("7.0", {}), (" 9007199254740999", {}), ("x", {"not_a_number": [3]})):
        made = feed([*ids, beside], "int64")
        assert numbers(made)[:3].tolist() == [9007199254740993, 9007199254740995, 9007199254740997]
        assert faults(made) == fault


def test_a_typed_value_is_the_category_that_says_it() -> None:
    taken = ModelInput("x", "string", None, ("x",), spellings={"true": "True", "2": "2.0", "3": ""})
    for column, expected in (([True, False], ["True", "false"]), ([2.0, 5.0], ["2.0", "5"]), (["true", "2"],) * 2):
        assert texts(feeds_of(pa.record_batch({"x": pa.array(column)}), [taken])) == expected
    with pytest.raises(DataError, match="several categories"):
        feeds_of(pa.record_batch({"x": pa.array([3])}), [taken])


@pytest.mark.parametrize("width", [0, 2])
def test_a_single_value_is_a_list_of_one_whatever_stands_beside_it(width: int) -> None:
    columns = [[7], ["7", None], pa.array([[7]]), pa.array(["7"]), ["[7]", "[1, 2]"]]
    for column in columns:
        made = feed(column, "int64", width=width)
        if width:
            assert faults(made)["too_few_fields"] == [0]
        else:
            assert numbers(Feeds(1, [made.feeds[0].take(np.array([0]))])).tolist() == [[7]]
    texts = feed(["a", '["b", "c"]', "7"], "string", width=0).feeds[0]
    assert texts.texts[0].to_pylist() == ["a", "b", "c", "7"]


LISTS = st.lists(st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), min_size=1, max_size=12)


@given(LISTS, st.data())
def test_lists_of_any_length_are_the_rows_own(lists: list[list[int] | None], data: st.DataObject) -> None:
    for column, dtype, plain in (
        (pa.array(lists, pa.list_(pa.int64())), "int64", lambda given: given.numbers.tolist()),
        (pa.array(lists, pa.large_list(pa.int64())), "string", rows_of_texts),
    ):
        made = feed(column, dtype, width=0)
        assert faults(made) == (
            {"missing_value": nulls} if (nulls := [i for i, v in enumerate(lists) if v is None]) else {}
        )
        groups = rows_of_one_shape(made.feeds) or [np.arange(len(lists))]
        assert sorted(np.concatenate(groups).tolist()) == list(range(len(lists)))
        for group in groups:
            at = data.draw(st.permutations(group.tolist()))
            expected = [[v if dtype == "int64" else str(v) for v in lists[row] or []] for row in at]
            dense = made.feeds[0].take(np.array(at))
            assert dense.lengths is None
            if expected[0]:
                assert plain(dense) == expected
            mask = np.isin(np.arange(len(lists)), at)
            assert made.feeds[0].where(mask).take(np.arange(len(at))).lengths is None


def rows_of_texts(given: Feed) -> list[list[str]]:
    return [list(row) for row in zip(*(column.to_pylist() for column in given.texts), strict=True)]
