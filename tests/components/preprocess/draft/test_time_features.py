"""A table of a time and one number gets features that are derived from the parts of the time that vary."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.draft.write_problem import draft
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Gate, Numeric, Splits
from headrace.core.problem.file import ProblemFile, load_problem

START = datetime.datetime(2010, 1, 1)


def of_table(folder: Path, columns: dict[str, Any], **options: Any) -> tuple[ProblemFile, str]:
    pq.write_table(pa.table(columns), folder / "table.parquet")
    found = draft(str(folder / "table.parquet"), **options)
    (folder / "problem.py").write_text(found.source)
    return load_problem(str(folder / "problem.py")), found.source


def hourly(row: int) -> datetime.datetime:
    return START + datetime.timedelta(hours=7 * row)


def temperature(time: datetime.datetime) -> float:
    season = math.cos(2 * math.pi * time.timetuple().tm_yday / 365.25)
    return round(50 - 10 * season - 5 * math.cos(math.pi * time.hour / 12), 1)


@pytest.mark.parametrize(
    "written",
    [lambda time: time, lambda time: f"{time:%Y/%m/%d %H:%M}", lambda time: f"{time:%Y-%m-%dT%H:%M:%S}Z"],
    ids=["timestamps", "slashes", "ISO 8601"],
)
def test_a_time_and_a_number_are_a_problem_split_by_time(tmp_path: Path, written: Callable[[Any], Any]) -> None:
    times = [hourly(row) for row in range(1200)]
    columns = {"date": [written(time) for time in times], "temp": [temperature(time) for time in times]}
    file, source = of_table(tmp_path, columns)
    problem = file.problem
    assert problem.label == Numeric("temp", minimum=5, maximum=95)
    assert problem.columns == (
        Numeric("date_season_sin"), Numeric("date_season_cos"), Categorical("date_weekday"), Categorical("date_hour"),
    )  # fmt: skip
    assert problem.splits == Splits(time="date")
    assert problem.gate == Gate()
    assert [column.name for column in problem.derivation.served] == ["date"]
    assert "is left out" not in source
    result = preprocess(file, PreprocessConfig(str(tmp_path / "table.parquet"), str(tmp_path / "out"), "0" * 16))
    assert (result.rows_out, result.splits) == (1200, {"train": 960, "eval": 120, "test": 120})
    # The times of rows 960 and 1,080.
    boundaries = {"eval_from": "2010-10-08", "test_from": "2010-11-12"}
    assert Manifest.read(str(tmp_path / "out")).boundaries == boundaries


def days(count: int, step: int = 1) -> list[datetime.date]:
    return [START.date() + datetime.timedelta(days=step * n) for n in range(count)]


def months(count: int) -> list[datetime.date]:
    return [datetime.date(1990 + n // 12, 1 + n % 12, 1) for n in range(count)]


SEASON = ["at_season_sin", "at_season_cos"]


@pytest.mark.parametrize(
    ("times", "features"),
    [
        (days(30), ["at_weekday"]),
        (days(100), [*SEASON, "at_weekday"]),
        (months(12), SEASON),
        (months(60), [*SEASON, "at_year"]),
        ([datetime.date(1900 + n, 1, 1) for n in range(60)], ["at_year"]),
        ([START + datetime.timedelta(minutes=n) for n in range(60)], ["at_minute"]),
        ([START + datetime.timedelta(seconds=n) for n in range(60)], ["at_second"]),
        ([START + datetime.timedelta(minutes=n) for n in range(240)], ["at_hour"]),
    ],
    ids=["days", "days of some months", "months", "months of years", "years", "minutes", "seconds", "hours"],
)
def test_the_parts_that_vary_are_features(tmp_path: Path, times: list[Any], features: list[str]) -> None:
    values = [n * 37 % 61 / 4 for n in range(len(times))]
    file, _ = of_table(tmp_path, {"at": times, "value": values})
    assert {column.name for column in file.problem.columns} == {*features}
    config = PreprocessConfig(str(tmp_path / "table.parquet"), str(tmp_path / "out"), "0" * 16)
    splits = preprocess(file, config).splits
    assert sum(splits.values()) == len(times)
    assert all(splits.values())


def test_rows_without_a_time_have_room_in_the_budget(tmp_path: Path) -> None:
    times = [None if n % 25 == 0 else time for n, time in enumerate(days(300))]
    file, source = of_table(tmp_path, {"at": times, "value": [n % 50 / 8 for n in range(300)]})
    assert file.problem.quarantine_budget == 0.1
    assert "4.0% of the rows have no label or no time." in source
    config = PreprocessConfig(str(tmp_path / "table.parquet"), str(tmp_path / "out"), "0" * 16)
    assert preprocess(file, config).rows_quarantined == 12


def test_names_of_features_are_free_in_the_table(tmp_path: Path) -> None:
    columns = {"Month": days(300), "month_weekday": [n % 50 / 8 for n in range(300)]}
    file, _ = of_table(tmp_path, columns, label="month_weekday")
    assert [column.name for column in file.problem.columns] == [
        "Month_season_sin", "Month_season_cos", "Month_weekday_2",
    ]  # fmt: skip
    # A day and a category is a problem too; the identifier stays out.
    columns = {"id": [f"r{n}" for n in range(300)], "day": days(300), "sort": ["a", "b", "b"] * 100}
    file, _ = of_table(tmp_path, columns)
    assert (file.problem.key, file.problem.label.name, file.problem.splits.time) == ("id", "sort", "day")


def test_a_time_is_left_alone_beside_other_features(tmp_path: Path) -> None:
    values = [n * 37 % 61 / 4 for n in range(300)]
    file, source = of_table(tmp_path, {"at": days(300), "x": values[::-1], "value": values})
    assert [column.name for column in file.problem.columns] == ["x"]
    assert '"at" is left out: a date or a time' in source


def test_a_time_whose_name_no_expression_reads(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'"Date Egg": a time, but no expression reads .*: rename it'):
        of_table(tmp_path, {"Date Egg": days(60), "value": [n * 37 % 61 / 4 for n in range(60)]})


@pytest.mark.parametrize(
    ("name", "times", "key"),
    [
        ("key", days(60), "key"),
        ("at", [datetime.time(n % 24, 5) for n in range(60)], ""),
        ("at", [START + datetime.timedelta(microseconds=n) for n in range(60)], ""),
        ("at", days(2) * 30, ""),
        ("at", [f"{n % 28 + 1}.02.2024" for n in range(60)], ""),
    ],
    ids=["the key", "times of a day", "parts of a second", "two days", "another notation"],
)
def test_times_that_cannot_be_features(tmp_path: Path, name: str, times: list[Any], key: str) -> None:
    with pytest.raises(DataError, match=r"no column can be a feature.*: (a date or a time|it is the key)"):
        of_table(tmp_path, {name: times, "value": [n * 37 % 61 / 4 for n in range(60)]}, key=key)
