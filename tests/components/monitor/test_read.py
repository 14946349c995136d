"""Columns of logs and tables, by their names in the Problem; times in any form."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.monitored import write

from headrace.components.monitor.read import MonitoredRows, times_of
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.sources.csv_dialect import RFC_4180
from headrace.expressions import col

PROBLEM = Problem(
    name="p", key="id", label=Numeric("y"), features=[Numeric("time"), Categorical("kind", column="Kind of it")]
)


def opened(path: str, problem: Problem = PROBLEM, **names: str) -> MonitoredRows:
    return MonitoredRows.open(problem, path, RFC_4180, **names)


@pytest.mark.parametrize(
    ("values", "micros"),
    [
        (pa.array([datetime(2026, 3, 1, 12), None], pa.timestamp("ms")), 1_772_366_400_000_000),
        (pa.array([datetime(2026, 3, 1, 12), None], pa.timestamp("ns", "Asia/Tokyo")), 1_772_366_400_000_000),
        (pa.array([date(2026, 3, 1), None]), 1_772_323_200_000_000),
        (pa.array(["2026-03-01T12:00:00Z", "noon"]), 1_772_366_400_000_000),
        (pa.array(["2026-03-01 12:00:00", None]), 1_772_366_400_000_000),
        (pa.array([1_772_366_400.25, None]), 1_772_366_400_250_000),
        (pa.array(["1772366400", ""]), 1_772_366_400_000_000),
        # Milliseconds are in no year of four digits.
        (pa.array([1_772_366_400, 1_772_366_400_000]), 1_772_366_400_000_000),
    ],
)
def test_times_in_any_form(values: pa.Array, micros: int) -> None:
    found, present = times_of(values)
    assert present.tolist() == [True, False]
    assert found.tolist() == [micros, 0]


def test_a_feature_may_have_the_name_of_an_output_or_of_the_time(tmp_path: Path) -> None:
    table = pa.table({"time": [5.0], "Kind of it": ["a"], "at": [0], "id": ["k"], "guess": [1.0]})
    rows = opened(write(tmp_path / "t.parquet", table), time="at", prediction="guess")
    assert rows.outputs == {"key", "time", "prediction"}
    (batch,) = rows.batches()
    assert {name: values.to_pylist() for name, values in batch.columns.items()} == {"time": [5.0], "kind": ["a"]}
    assert batch.outputs["prediction"].to_pylist() == [1.0]
    assert batch.times is not None
    assert batch.times.tolist() == [0]
    # Without the name of a column of times a table has none.
    assert opened(write(tmp_path / "t.parquet", table)).outputs == {"key"}


def test_a_file_that_lacks_a_column_has_no_values_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder / "1.parquet", pa.table({"time": [1.0, 2.0], "Kind of it": ["a", "b"]}))
    write(folder / "2.parquet", pa.table({"time": [3.0]}))
    rows = opened(str(folder))
    assert rows.absent == ()
    batches = list(rows.batches())
    assert [batch.columns["kind"].to_pylist() for batch in batches] == [["a", "b"], [None]]
    assert opened(str(folder / "2.parquet")).absent == ("kind",)


def test_a_row_of_a_log_without_columns_has_no_values(tmp_path: Path) -> None:
    inputs = pa.array([{"time": 1.0, "kind": "a"}, None], pa.struct([("time", pa.float64()), ("kind", pa.string())]))
    log = pa.table({"time": pa.array([0, 1], pa.timestamp("us", "UTC")), "columns": inputs})
    (batch,) = opened(write(tmp_path / "log.parquet", log)).batches()
    assert batch.columns["kind"].to_pylist() == ["a", None]
    assert batch.times is not None
    assert batch.times.tolist() == [0, 1]


def test_derived_features_are_computed_where_their_inputs_are_there(tmp_path: Path) -> None:
    problem = Problem(
        name="p",
        key="id",
        label=Numeric("y"),
        features=[Numeric("a"), Numeric("ratio")],
        derive={"ratio": col("a") / col("b")},
    )
    whole = pa.table({"a": [1.0, 6.0], "b": [2.0, 3.0]})
    (batch,) = opened(write(tmp_path / "t.parquet", whole), problem).batches()
    assert batch.columns["ratio"].to_pylist() == [0.5, 2.0]
    part = opened(write(tmp_path / "t.parquet", whole.select(["a"])), problem)
    assert ([c.name for c in part.features], part.absent) == (["a"], ("ratio",))


def test_data_without_a_feature_or_without_the_time_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"other": [1.0]}))
    with pytest.raises(DataError, match="no feature of the Problem") as caught:
        opened(path)
    assert caught.value.expected == "columns among time, kind"
    with pytest.raises(DataError, match='the column "at" does not exist'):
        opened(write(tmp_path / "t.parquet", pa.table({"time": np.zeros(1)})), time="at")
