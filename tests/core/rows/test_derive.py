"""Derived columns of rows: what validation then sees of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace import Categorical, Numeric, Problem
from headrace.core.rows.derive import with_derived
from headrace.core.rows.validate import ValidatedRows, validate
from headrace.core.sources.source import Part, Rows
from headrace.core.values.doubles import doubles_of
from headrace.expressions import col, hour, if_else, log1p, timestamp

PROBLEM = Problem(
    "p",
    "id",
    Categorical("high", vocabulary=["false", "true"]),
    [Categorical("hour"), Numeric("log_fare", maximum=3), Numeric("per_km", optional=True)],
    derive={
        "high": col("tips") > 0.2 * col("fare"),
        "hour": hour(timestamp("start", unit="s")),
        "log_fare": log1p("fare"),
        "per_km": col("fare") / col("km"),
    },
)
GOOD = {"id": "k", "tips": "3", "fare": "10", "start": "7200", "km": "4"}


def checked(*rows: dict[str, Any]) -> ValidatedRows:
    batch = pa.RecordBatch.from_pydict({name: [(GOOD | row)[name] for row in rows] for name in GOOD})
    read = Rows(Part(0, "data.csv"), batch, np.arange(1, len(rows) + 1))
    return validate(PROBLEM, with_derived(PROBLEM, read))


def test_examples_hold_derived_columns_and_what_the_endpoint_is_asked_with() -> None:
    found = checked({}, {"km": "0", "tips": "2"}).batch
    assert found.to_pydict() == {
        "id": ["k", "k"],
        "high": ["true", "false"],
        "hour": ["2", "2"],
        "log_fare": [np.float32(np.log1p(10))] * 2,
        "per_km": [2.5, None],
        "fare": ["10", "10"],
        "km": ["4", "0"],
        "start": ["7200", "7200"],
    }
    assert found.schema.field("log_fare").type == pa.float32()


def test_expressions_get_the_numbers_as_the_table_has_them() -> None:
    problem = Problem(
        "p", "id", Numeric("y"), [Numeric("day"), Numeric("seconds"), Numeric("charges")],
        derive={"day": col("date") % 100, "seconds": col("end") - col("begin"), "charges": col("charge") * 1e60},
    )  # fmt: skip
    rows = {"date": [20240229, 20240101], "begin": [1700000059, 1e16], "end": [1700000060.25, 1e16 + 2]}
    table = {"id": ["a", "b"], "y": [1.0, 2.0], "charge": [3e-60, -1e-300], **rows}
    read = Rows(Part(0, "data.parquet"), pa.RecordBatch.from_pydict(table), np.arange(1, 3))
    found = validate(problem, with_derived(problem, read)).batch.to_pydict()
    assert {name: found[name] for name in ("day", "seconds")} == {"day": [29.0, 1.0], "seconds": [1.25, 2.0]}
    assert found["charges"] == [3.0, np.float32(-1e-240)]
    # Examples hold them exactly: as texts.
    texts = [text.encode() for text in (*found["date"], *found["begin"], *found["end"], *found["charge"])]
    assert doubles_of(texts).tolist() == [*rows["date"], *rows["begin"], *rows["end"], *table["charge"]]


def test_a_feature_that_expressions_read_is_its_whole_number_there_and_float32_for_the_model() -> None:
    problem = Problem(
        "p", "id", Numeric("y"), [Numeric("at", column="At", optional=True), Numeric("second", optional=True)],
        derive={"second": col("at") % 60},
    )  # fmt: skip
    table = {"id": ["a", "b", "c"], "y": [1.0, 2.0, 3.0], "at": [1700000059, None, 1e39]}
    read = Rows(Part(0, "data.parquet"), pa.RecordBatch.from_pydict(table), np.arange(1, 4))
    found = validate(problem, with_derived(problem, read))
    assert found.batch.to_pydict() == {
        "id": ["a", "b"],
        "y": [1, 2],
        "at": [1700000000, None],
        "second": [19, None],
        "at.exact": ["1700000059", None],
    }
    # A feature must fit float32.
    assert [row.fault.reason for row in found.quarantined] == ["out_of_range"]


def test_a_row_has_the_faults_of_what_was_read_and_of_what_was_derived() -> None:
    found = checked({"start": "soon"}, {"fare": "much"}, {"fare": "100"}, {"tips": ""}, {"km": "far"}, {"km": ""}, {})
    assert found.batch.num_rows == 2
    faults = [[(fault.column, fault.reason) for fault in (row.fault, *row.also)] for row in found.quarantined]
    assert faults == [
        [("hour", "missing_value")],
        [("fare", "not_a_number"), ("high", "missing_value"), ("log_fare", "missing_value")],
        [("log_fare", "out_of_range")],
        [("high", "missing_value")],
        [("km", "not_a_number")],
    ]
    # What is put right and appended later are the columns of the table.
    assert json.loads(json.dumps(found.quarantined[0].values)) == GOOD | {"start": "soon"}


def test_the_label_is_of_the_numbers_as_they_are() -> None:
    # In float32, 1.49 is more than a fifth of 7.45.
    assert np.float32(1.49) > 0.2 * np.float64(np.float32(7.45))
    assert checked({"tips": "1.49", "fare": "7.45"}).batch["high"].to_pylist() == ["false"]


def test_a_weight_may_be_derived_from_label_and_features() -> None:
    problem = Problem(
        "p",
        "id",
        Categorical("fraud", vocabulary=["no", "yes"]),
        [Numeric("amount")],
        weight="w",
        derive={"w": if_else(col("fraud") == "yes", 10, 1) * col("days")},
    )
    columns = {
        "id": ["a", "b", "c", "d"],
        "fraud": ["no", "yes", "yes", "no"],
        "amount": ["1"] * 4,
        "days": ["0.1", "2", "-1", ""],
    }
    read = Rows(Part(0, "data.csv"), pa.RecordBatch.from_pydict(columns), np.arange(1, 5))
    found = validate(problem, with_derived(problem, read))
    assert found.batch.to_pydict() == {
        "id": ["a", "b"],
        "fraud": ["no", "yes"],
        "w": [pytest.approx(0.1), 20.0],
        "amount": [1.0, 1.0],
    }
    reasons = [(row.fault.column, row.fault.reason) for row in found.quarantined]
    assert reasons == [("w", "out_of_range"), ("w", "missing_value")]
