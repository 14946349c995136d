"""References: Examples, a Model, statistics.json, rows and an earlier Monitoring know the same distribution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.examples_manifest import write_manifest
from support.monitored import requests, write, write_problem

from headrace.components.monitor.columns import CategoryColumn, NumberColumn
from headrace.components.monitor.reference import Reference, open_reference
from headrace.core.artifacts.examples import STATISTICS_SKETCH, Schema
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Problem
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import RFC_4180
from headrace.core.statistics.file import to_bytes
from headrace.core.statistics.measure import TableStatistics

ROWS = 5000


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    return load_problem(str(write_problem(tmp_path))).problem


@pytest.fixture
def table() -> pa.Table:
    rows = requests(1, ROWS, 1)
    weeks = pa.array(rows["weeks"].to_numpy().astype(np.float32), mask=np.arange(ROWS) % 10 == 0)
    return pa.table(
        {
            "age": rows["age"].cast(pa.float32()),
            "plurality": rows["plurality"],
            "weeks": weeks,
            "weight": rows["prediction"].cast(pa.float32()),
        }
    )


def statistics(table: pa.Table) -> TableStatistics:
    return TableStatistics.measure(table, table.schema.names)


def write_statistics(folder: Path, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "statistics.json").write_text(json.dumps(statistics(table).to_json()))


def write_examples(folder: Path, problem: Problem, table: pa.Table, *, sketch: bool) -> str:
    write_statistics(folder, table)
    (folder / "schema.json").write_text(json.dumps(Schema.of(problem).to_json()))
    if sketch:
        (folder / "sketches").mkdir()
        (folder / STATISTICS_SKETCH).write_bytes(to_bytes(statistics(table)))
    write_manifest(folder, problem=problem.name, schema_digest=problem.schema_digest)
    return str(folder)


def write_model(folder: Path, problem: Problem, table: pa.Table) -> str:
    write_statistics(folder, table)
    (folder / "training.json").write_text(json.dumps({"model_version": "v1", "format": 1, "kind": "Model"}))
    (folder / "problem.json").write_text(json.dumps(problem.to_json()))
    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize("kind", ["Examples", "Examples without sketches", "Model", "endpoint", "statistics", "rows"])
def test_every_kind_of_reference_knows_the_same(tmp_path: Path, problem: Problem, table: pa.Table, kind: str) -> None:
    folder = tmp_path / "reference"
    if kind.startswith("Examples"):
        uri = write_examples(folder, problem, table, sketch=kind == "Examples")
    elif kind == "Model":
        uri = write_model(folder, problem, table)
    elif kind == "endpoint":
        write_model(folder / "versions" / "v1", problem, table)
        (folder / "endpoint.json").write_text('{"live": "v1"}')
        uri = str(folder)
    elif kind == "statistics":
        write_statistics(folder, table)
        uri = str(folder / "statistics.json")
    else:
        uri = write(tmp_path / "rows.parquet", table)
    found = open_reference(problem, uri, RFC_4180)
    assert found.kind == {"endpoint": "Model"}.get(kind, kind.split()[0])
    age, plurality, weeks = (found.column(problem, column) for column in problem.columns)
    assert isinstance(plurality, CategoryColumn)
    assert plurality.listed == ("1", "2", "3")
    assert int(plurality.rows.sum()) == ROWS
    assert isinstance(weeks, NumberColumn)
    assert (weeks.bins.rows, weeks.missing) == (ROWS * 9 // 10, ROWS // 10)
    assert isinstance(age, NumberColumn)
    # Rows and sketches know single numbers; quantiles know bounds.
    assert bool((age.bins.low < age.bins.high).any()) == (kind not in ("Examples", "rows"))
    ages = table["age"].to_numpy()
    below = np.array([(ages <= edge).mean() for edge in age.bins.edges])
    assert (age.bins.low[1::2] - 1e-9 <= below).all()
    assert (below <= age.bins.high[1::2] + 1e-9).all()
    again = open_reference(problem, uri, RFC_4180)
    assert again.digest == found.digest


def test_predictions_without_a_reference_are_counted_in_the_cells_of_the_label(
    tmp_path: Path, problem: Problem, table: pa.Table
) -> None:
    found = open_reference(problem, write_model(tmp_path / "model", problem, table), RFC_4180)
    column = found.prediction(problem)
    assert isinstance(column, NumberColumn)
    assert column.bins.rows == 0
    assert len(column.bins.edges) == 21
    rows = open_reference(problem, write(tmp_path / "rows.parquet", requests(1, ROWS, 1)), RFC_4180)
    known = rows.prediction(problem)
    assert isinstance(known, NumberColumn)
    assert known.bins.rows == ROWS


def test_a_reference_that_lacks_a_column_is_refused(tmp_path: Path, problem: Problem, table: pa.Table) -> None:
    folder = tmp_path / "reference"
    write_statistics(folder, table.drop_columns(["weeks"]))
    found = open_reference(problem, str(folder / "statistics.json"), RFC_4180)
    with pytest.raises(DataError, match='cannot be compared in the column "weeks"') as caught:
        found.column(problem, problem.columns[2])
    assert caught.value.received == "no column"
    write_statistics(folder, table.set_column(2, "weeks", table["plurality"]))
    other = open_reference(problem, str(folder / "statistics.json"), RFC_4180)
    with pytest.raises(DataError, match="weeks") as caught:
        other.column(problem, problem.columns[2])
    assert caught.value.received == "a categorical one"


def test_a_column_without_values_is_no_reference(problem: Problem) -> None:
    empty: dict[str, Any] = {"kind": "numeric", "count": 0, "missing": 7, "quantiles": []}
    column = Reference("statistics", "x", "0" * 16, {"weeks": empty}).column(problem, problem.columns[2])
    assert isinstance(column, NumberColumn)
    assert (column.bins.rows, column.missing) == (0, 7)


def test_what_holds_no_reference_is_refused(tmp_path: Path, problem: Problem) -> None:
    (tmp_path / "monitoring.json").write_text('{"kind": "Other"}')
    with pytest.raises(DataError, match="not a Monitoring"):
        open_reference(problem, str(tmp_path), RFC_4180)
    other = {"kind": "Monitoring", "format": 1, "problem": "other", "columns": {}}
    (tmp_path / "monitoring.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="of another problem"):
        open_reference(problem, str(tmp_path), RFC_4180)
    (tmp_path / "statistics.json").write_text("{}")
    with pytest.raises(DataError, match="is not a statistics"):
        open_reference(problem, str(tmp_path / "statistics.json"), RFC_4180)
    with pytest.raises((DataError, UsageError)):
        open_reference(problem, str(tmp_path / "nowhere"), RFC_4180)
    empty = write(tmp_path / "empty.parquet", requests(1, 10, 1).slice(0, 0))
    with pytest.raises(DataError, match="no rows"):
        open_reference(problem, empty, RFC_4180)
