"""Columns against the Problem: what passes, what does not, and what a user is told."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Crossed, Numeric, Problem
from headrace.core.rows.read import wanted_columns
from headrace.core.rows.validate import ValidatedRows, not_numbers, validate
from headrace.core.sources.source import Part, Rows
from headrace.core.values.columns import as_text

PROBLEM = Problem(
    "p",
    "id",
    Numeric("y"),
    [
        Numeric("x", minimum=0, maximum=10, buckets=[5], optional=True),
        Categorical("c", vocabulary=["a", "b"]),
        Categorical("free", optional=True),
        Crossed("x", "c", hash_buckets=4),
    ],
)
GOOD = {"id": "k", "y": "1.5", "x": "2", "c": "a", "free": "text"}


def check(*rows: dict[str, Any], first: int = 1) -> ValidatedRows:
    batch = pa.RecordBatch.from_pydict({name: [(GOOD | row)[name] for row in rows] for name in GOOD})
    return validate(PROBLEM, Rows(Part(0, "folder/data.csv"), batch, np.arange(first, first + len(rows))))


def test_columns_are_typed_in_one_order() -> None:
    checked = check({}, {"x": None, "free": None})
    assert checked.batch.to_pydict() == {
        "id": ["k", "k"],
        "y": [1.5, 1.5],
        "x": [2.0, None],
        "c": ["a", "a"],
        "free": ["text", None],
    }
    assert checked.batch.schema.field("x").type == pa.float32()
    assert list(checked.batch.schema.names) == wanted_columns(PROBLEM)
    assert checked.quarantined == ()


@pytest.mark.parametrize(
    ("row", "column", "reason", "message"),
    [
        ({"id": None}, "id", "missing_key", "id is empty, and is the key"),
        ({"id": ""}, "id", "missing_key", "id is empty, and is the key"),
        ({"y": None}, "y", "missing_value", "y is missing, and is not optional"),
        ({"y": " "}, "y", "missing_value", "y is missing, and is not optional"),
        (
            {"y": "nan"},
            "y",
            "not_a_number",
            'y is "nan", which is not a finite number; missing=["nan"] in the Problem makes it a missing value',
        ),
        ({"y": "1,5"}, "y", "not_a_number", 'y is "1,5", which is not a finite number; --csv decimal=, reads it'),
        ({"y": "-inf"}, "y", "not_a_number", 'y is "-inf", which is not a finite number'),
        ({"y": "0x1f"}, "y", "not_a_number", 'y is "0x1f", which is not a finite number'),
        ({"y": "1e400"}, "y", "out_of_range", 'y is "1e400", which is not between -3.40282e+38 and 3.40282e+38'),
        ({"x": "10.5"}, "x", "out_of_range", 'x is "10.5", which is not between 0 and 10'),
        ({"x": "-1"}, "x", "out_of_range", 'x is "-1", which is not between 0 and 10'),
        ({"c": "A"}, "c", "unknown_value", 'c is "A", which is not one of a, b'),
        ({"c": ""}, "c", "missing_value", "c is missing, and is not optional"),
        ({"c": "z" * 99}, "c", "unknown_value", f'c is "{"z" * 39}..., which is not one of a, b'),
    ],
)
def test_a_row_that_breaks_a_rule(row: dict[str, Any], column: str, reason: str, message: str) -> None:
    checked = check({}, row, {}, first=100)
    assert checked.numbers.tolist() == [100, 102]
    assert checked.batch.num_rows == 2
    (bad,) = checked.quarantined
    assert (bad.file, bad.row, bad.also) == ("data.csv", 101, ())
    assert (bad.fault.column, bad.fault.reason, bad.fault.message) == (column, reason, message)
    assert bad.values == GOOD | row


def test_a_row_that_breaks_several_rules_is_one_row() -> None:
    (bad,) = check({"c": "A", "y": "x", "x": "99"}).quarantined
    assert [fault.reason for fault in (bad.fault, *bad.also)] == ["not_a_number", "out_of_range", "unknown_value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5.0), (" 5 ", 5.0), ("+5", 5.0), ("-.5", -0.5), ("5.", 5.0), ("1e2", 100.0), ("1E-2", 0.01), ("-0", 0.0)],
)
def test_numbers_are_read_as_written_also_beside_a_bad_one(text: str, value: float) -> None:
    for others in ([{}], [{}, {"y": "bad"}]):
        assert check({"y": text}, *others).batch.column("y")[0].as_py() == np.float32(value)


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1, None, -2]), ["1", None, "-2"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([1.0, 1.5, math.nan, None, -3.0]), ["1", "1.5", None, None, "-3"]),
        (pa.array([1.0, 0.5], pa.float32()), ["1", "0.5"]),
        (pa.array([decimal.Decimal(text) for text in ("1.00", "1.50", "-10.05")]), ["1", "1.5", "-10.05"]),
        (pa.array([decimal.Decimal("100")]), ["100"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([b"a"]), ["a"]),
        (pa.array([datetime.date(2020, 1, 31)]), ["2020-01-31"]),
        (pa.array([None, None]), [None, None]),
    ],
)  # fmt: skip
def test_any_column_as_text(column: pa.Array, texts: list[str | None]) -> None:
    assert as_text(column).to_pylist() == texts


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        as_text(pa.array([b"\xff"]))


@pytest.mark.parametrize(
    ("column", "wrong", "present"),
    [
        (pa.array(["1", "x", "", None, "nan"]), [False, True, False, False, True], 3),
        (pa.array([1.0, math.nan, math.inf]), [False, False, True], 2),
        (pa.array([True, None]), [False, False], 1),
        (pa.array([decimal.Decimal("1.5")]), [False], 1),
        (pa.array(["1", "x"]).dictionary_encode(), [False, True], 2),
        (pa.array([], pa.string()), [], 0),
    ],
)
def test_which_values_are_numbers(column: pa.Array, wrong: list[bool], present: int) -> None:
    mask, count = not_numbers(column)
    assert (mask.tolist(), count) == (wrong, present)


def test_typed_columns_of_parquet_give_what_text_gives() -> None:
    typed = {"id": [7, 8], "y": [1.5, math.inf], "x": [2, None], "c": ["a", "b"], "free": [True, None]}
    checked = validate(PROBLEM, Rows(Part(0, "d.parquet"), pa.RecordBatch.from_pydict(typed), np.arange(1, 3)))
    assert checked.batch.to_pylist() == [{"id": "7", "y": 1.5, "x": 2.0, "c": "a", "free": "true"}]
    assert checked.quarantined[0].values == {"id": 8, "y": "inf", "x": None, "c": "b", "free": None}


def test_no_rows() -> None:
    batch = pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in GOOD})
    assert validate(PROBLEM, Rows(Part(0, "d.csv"), batch, np.arange(0))).batch.num_rows == 0


def test_a_weight_is_a_finite_number_of_0_or_more() -> None:
    problem = Problem("p", "id", Numeric("y"), [Numeric("x")], weight=Numeric("w", maximum=100))
    texts = ["0", "2.5", "-1", "nan", "inf", "", "1e300", "101"]
    columns = {"id": list("abcdefgh"), "y": ["1"] * 8, "x": ["2"] * 8, "w": texts}
    read = Rows(Part(0, "data.csv"), pa.RecordBatch.from_pydict(columns), np.arange(1, 9))
    found = validate(problem, read)
    assert found.batch.to_pydict() == {"id": ["a", "b"], "y": [1.0, 1.0], "w": [0.0, 2.5], "x": [2.0, 2.0]}
    assert found.batch.schema.field("w").type == pa.float32()
    assert [(row.values["id"], row.fault.column, row.fault.reason) for row in found.quarantined] == [
        ("c", "w", "out_of_range"),
        ("d", "w", "not_a_number"),
        ("e", "w", "not_a_number"),
        ("f", "w", "missing_value"),
        ("g", "w", "out_of_range"),
        ("h", "w", "out_of_range"),
    ]
    typed = pa.RecordBatch.from_pydict({**columns, "w": [1.0, 0.5, -1.0, math.nan, math.inf, None, 1e300, 101.0]})
    again = validate(problem, Rows(Part(0, "data.parquet"), typed, np.arange(1, 9)))
    reasons = [row.fault.reason for row in again.quarantined]
    assert reasons == ["out_of_range", "missing_value", "not_a_number", "missing_value", "out_of_range", "out_of_range"]
