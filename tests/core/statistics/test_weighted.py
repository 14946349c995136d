"""Weighted label statistics: exact sums, merged in parts, and the label's entry as if rows counted by weight."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.statistics.file import from_bytes, to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all
from headrace.core.statistics.weighted import WeightedLabel, as_weighted

CLASSES = pa.table({"y": ["no", "yes", "no", "yes", "no"], "w": pa.array([1, 0.5, 0, 4, 2], pa.float32())})
NUMBERS = pa.table({"y": pa.array([1, 2, 3, 4, 5], pa.float32()), "w": pa.array([1, 0.5, 0, 4, 2], pa.float32())})

WEIGHTS = st.floats(0.0, 100.0, width=32)
ROWS = st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.sampled_from("abc"), WEIGHTS), min_size=1, max_size=30)


def measure(table: pa.Table) -> TableStatistics:
    weighted = WeightedLabel.measure("y", table.column("y"), table.column("w"))
    return dataclasses.replace(TableStatistics.measure(table, ["y", "w"]), weighted=weighted)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (CLASSES, {"weight": 7.5, "vocabulary": [["yes", 4.5], ["no", 3.0]]}),
        (NUMBERS, {"weight": 7.5, "mean": 28 / 7.5}),
    ],
)
def test_parts_are_added(table: pa.Table, expected: object) -> None:
    whole = measure(table).to_json()["columns"]
    assert whole["y"]["weighted"] == expected
    assert "weighted" not in whole["w"]
    parts = [measure(part) for part in (table.slice(0, 2), table.slice(2, 0), table.slice(2))]
    merged = merge_all([from_bytes(to_bytes(part)) for part in parts])
    assert merged.weighted == measure(table).weighted
    assert merged.to_json()["columns"]["y"]["weighted"] == expected


def test_a_label_as_if_its_rows_counted_by_weight() -> None:
    found = as_weighted(measure(CLASSES).to_json()["columns"]["y"])
    assert found["vocabulary"] == [["yes", 3.0], ["no", 2.0]]
    assert as_weighted(measure(NUMBERS).to_json()["columns"]["y"])["mean"] == 28 / 7.5


def test_where_there_is_no_weight_rows_count_alike() -> None:
    plain = TableStatistics.measure(CLASSES, ["y", "w"])
    assert to_bytes(plain) == to_bytes(from_bytes(to_bytes(plain)))
    label = plain.to_json()["columns"]["y"]
    assert as_weighted(label) is label
    nothing = CLASSES.set_column(1, "w", pa.array([0.0] * 5, pa.float32()))
    label = measure(nothing).to_json()["columns"]["y"]
    assert label["weighted"]["weight"] == 0
    assert as_weighted(label) is label


@given(ROWS, st.floats(0.001, 1.0), st.booleans(), st.booleans())
def test_an_entry_gives_what_its_rows_would(rows: list[Any], factor: float, numeric: bool, weighted: bool) -> None:
    labels = pa.chunked_array([[row[0 if numeric else 1] for row in rows]])
    weights = [row[2] if weighted else 1.0 for row in rows]
    table = pa.table({"y": labels})
    statistics = TableStatistics.measure(table, ["y"])
    if weighted:
        of_label = WeightedLabel.measure("y", labels, pa.chunked_array([weights]))
        statistics = dataclasses.replace(statistics, weighted=of_label)
    found = WeightedLabel.of_entry("y", statistics.to_json()["columns"]["y"], factor)
    expected = WeightedLabel.measure("y", labels, pa.chunked_array([[weight * factor for weight in weights]]))
    assert found.weight == pytest.approx(expected.weight)
    assert found.moment == pytest.approx(expected.moment, rel=1e-6, abs=1e-6)
    assert dict(found.classes) == pytest.approx(dict(expected.classes))
