"""Tables and queries of BigQuery, on a real emulator; names and what the service says, in one paragraph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pytest

from headrace.components.preprocess.check import check_data
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.artifacts.examples import Manifest
from headrace.core.cloud import bigquery as service
from headrace.core.errors import DataError, NothingToDo, PlatformError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.sources.bigquery import Query, Table, parse
from headrace.core.sources.open import data_version, expected_rows, list_parts, read_part, source_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
TABLE = pacsv.read_csv(EXAMPLE / "births.csv")
# BigQuery has no order of rows, so what is compared is sorted by key.
SORTED = TABLE.sort_by("record_id").to_pylist()

Make = Callable[[Any], str]


@pytest.fixture
def births(make_table: Make) -> str:
    return f"bigquery://{make_table(TABLE)}"


def rows_of(data: str, columns: list[str], batch_rows: int = 100) -> list[dict[str, Any]]:
    found = [rows for part in list_parts(data, columns=columns) for rows in read_part(part, columns, batch_rows)]
    assert all(1 <= rows.batch.num_rows <= batch_rows for rows in found)
    by_part: dict[str, list[int]] = {}
    for rows in found:
        by_part.setdefault(rows.part.name, []).extend(rows.numbers.tolist())
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_part.values())
    return [row for rows in found for row in rows.batch.to_pylist()]


def test_a_table(births: str) -> None:
    columns = ["mother_age", "record_id"]
    found = sorted(rows_of(births, columns), key=lambda row: row["record_id"])
    assert found == [{name: row[name] for name in columns} for row in SORTED]
    assert dict(source_of(births).columns(births))["record_id"] == pa.int64()
    assert [name for name, _ in source_of(births).columns(births)] == TABLE.column_names
    parts = list_parts(births)
    assert expected_rows(parts) == 1450
    assert parts[0].file == births.removeprefix("bigquery://")


def test_a_query(births: str) -> None:
    table = births.removeprefix("bigquery://")
    project, dataset, _ = table.split(".")
    sql = f"SELECT record_id, mother_age * 2 AS twice FROM `{table}` WHERE mother_age > 40"
    data = f"bigquery://{project}.{dataset}?query={sql}"
    older = TABLE.filter(pc.greater(TABLE["mother_age"], 40)).to_pylist()
    found = sorted(rows_of(data, ["record_id", "twice"]), key=lambda row: row["record_id"])
    assert found == sorted(
        ({"record_id": row["record_id"], "twice": 2 * row["mother_age"]} for row in older),
        key=lambda row: row["record_id"],
    )


def test_the_version_follows_the_table(births: str, make_table: Make) -> None:
    assert data_version([births]) == data_version([births])
    assert data_version([births]) != data_version([f"bigquery://{make_table(TABLE)}"])


def test_preprocess_a_table(births: str, tmp_path: Path) -> None:
    result = preprocess(PROBLEM_FILE, PreprocessConfig(births, str(tmp_path / "out"), "0123456789abcdef"))
    assert (result.rows_in, result.rows_out, dict(result.splits)) == (
        1450,
        1449,
        {"train": 1164, "eval": 145, "test": 140},
    )
    manifest = Manifest.read(str(tmp_path / "out"))
    assert [(source.file, source.rows) for source in manifest.source] == [(births.removeprefix("bigquery://"), 1450)]
    assert manifest.quarantine.reasons == {"missing_value": 1}


def test_early_refusals(births: str, make_table: Make) -> None:
    without = make_table(TABLE.drop_columns(["plurality"]))
    with pytest.raises(DataError, match='the column "plurality" does not exist'):
        check_data(PROBLEM_FILE.problem, f"bigquery://{without}")
    empty = make_table(TABLE.slice(0, 0))
    with pytest.raises(NothingToDo, match="the data has no rows"):
        check_data(PROBLEM_FILE.problem, f"bigquery://{empty}")
    with pytest.raises(DataError, match="the table does not exist"):
        check_data(PROBLEM_FILE.problem, f"{births}_gone")
    with pytest.raises(UsageError, match="BigQuery rejected the request"):
        check_data(PROBLEM_FILE.problem, "bigquery://demo-project?query=SELECT FROM WHERE")


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("BIGQUERY_STORAGE_GRPC", "127.0.0.1:9")
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.5)
    for act in (
        lambda: list_parts("bigquery://demo-project.births.rows"),
        lambda: source_of("bigquery://x").columns("bigquery://demo-project.births.rows"),
        lambda: list_parts("bigquery://demo-project?query=SELECT 1"),
    ):
        with pytest.raises(PlatformError, match="BigQuery failed or did not respond"):
            act()


def test_what_a_name_names() -> None:
    assert parse("bigquery://my-project.births.rows") == Table("my-project", "births", "rows", "my-project")
    assert parse("bigquery://example.com:my-project.births.rows 1?project=payer-1") == Table(
        "example.com:my-project", "births", "rows 1", "payer-1"
    )
    assert parse("bigquery://my-project?query= SELECT '?' ; ") == Query("my-project", "SELECT '?' ")
    assert parse("bigquery://my-project.kept?query=WITH x AS (SELECT 1) SELECT * FROM x") == Query(
        "my-project", "WITH x AS (SELECT 1) SELECT * FROM x", "kept"
    )
    assert parse("bigquery://example.com:my-project?query=SELECT 1") == Query("example.com:my-project", "SELECT 1")


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("bigquery://", "the table is wrong"),
        ("bigquery://my-project", "the table is wrong"),
        ("bigquery://my-project.rows", "the table is wrong"),
        ("bigquery://MyProject.births.rows", "the project is wrong"),
        ("bigquery://my-project.bir-ths.rows", "the dataset is wrong"),
        ("bigquery://my-project.births.rows`; DROP TABLE x", "the table is wrong"),
        ("bigquery://my-project.births.rows?projekt=x", "the option is wrong"),
        ("bigquery://my-project.births.rows?project=X", "the project is wrong"),
        ("bigquery://my-project?query=", "the query is wrong"),
        ("bigquery://my-project?query=DROP TABLE births.rows", "the query is wrong"),
        ("bigquery://my-project.births.rows?query=SELECT 1", "the project is wrong"),
        ("bigquery://my-project.bir-ths?query=SELECT 1", "the dataset is wrong"),
    ],
)
def test_names_are_checked_before_anything_is_asked(uri: str, what: str) -> None:
    with pytest.raises(UsageError) as error:
        list_parts(uri)
    assert (error.value.what, error.value.where) == (what, uri)
