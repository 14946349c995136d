"""Folders COLUMN=VALUE, as Hive, Spark and our own predictions have them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.core.sources.open import data_version, list_parts, list_paths, read_part, source_of
from headrace.core.sources.partitions import partition_values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for year, city in (("2019", "a%20b"), ("2020", "__HIVE_DEFAULT_PARTITION__")):
        inner = tmp_path / "ds" / f"year={year}" / f"city={city}"
        inner.mkdir(parents=True)
        pq.write_table(pa.table({"k": [1, 2]}), inner / "rows.parquet")
        (inner / "_SUCCESS").touch()
    (tmp_path / "ds" / "_temporary" / "year=2021").mkdir(parents=True)
    pq.write_table(pa.table({"k": [9]}), tmp_path / "ds" / "_temporary" / "year=2021" / "rows.parquet")
    return tmp_path / "ds"


def test_a_folder_of_folders_is_one_table_with_their_columns(folder: Path) -> None:
    parts = list_parts(str(folder))
    assert [part.file for part in parts] == [
        "year=2019/city=a%20b/rows.parquet",
        "year=2020/city=__HIVE_DEFAULT_PARTITION__/rows.parquet",
    ]
    for part in parts:
        assert source_of(part.path).columns(part.path) == [
            ("k", pa.int64()), ("year", pa.string()), ("city", pa.string()),
        ]  # fmt: skip
    rows = [
        row for part in parts for rows in read_part(part, ["year", "k", "city"], 10) for row in rows.batch.to_pylist()
    ]
    assert rows == [
        {"year": "2019", "k": 1, "city": "a b"},
        {"year": "2019", "k": 2, "city": "a b"},
        {"year": "2020", "k": 1, "city": None},
        {"year": "2020", "k": 2, "city": None},
    ]


def test_a_glob_and_a_file_have_the_columns_too(folder: Path) -> None:
    (part,) = list_parts(str(folder / "year=2019" / "**" / "*.parquet"))
    (rows,) = read_part(part, ["year"], 10)
    assert rows.batch.to_pydict() == {"year": ["2019", "2019"]}
    assert rows.numbers.tolist() == [1, 2]


def test_a_column_of_the_file_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "k=7").mkdir()
    (tmp_path / "k=7" / "a.csv").write_text("k,x\n1,2\n")
    (part,) = list_parts(str(tmp_path))
    (rows,) = read_part(part, ["k", "x"], 10)
    assert rows.batch.to_pylist() == [{"k": "1", "x": "2"}]


def test_the_version_covers_the_folders(folder: Path) -> None:
    before = data_version(list_paths(str(folder)))
    (folder / "year=2019").rename(folder / "year=2018")
    assert data_version(list_paths(str(folder))) != before


def test_values_end_at_the_first_folder_that_is_none() -> None:
    assert partition_values("/data/run=1/raw/year=2019/a.csv") == {"year": "2019"}
    assert partition_values("gs://bucket/year=2019/a=b=c/a.csv") == {"year": "2019", "a": "b=c"}
    assert partition_values("a.csv") == {}
