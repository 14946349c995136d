"""The scripts of examples/flight_time on rows of the real table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess import pipeline
from headrace.core.problem.file import load_problem

EXAMPLE = Path(__file__).parents[2] / "examples" / "flight_time"
# The first two flights of flights.csv, the first without an air time, and the last of all.
CSV = b"""\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,\
air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,533,529,4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z
2013,1,1,1525,1530,-5,1934,1805,NA,MQ,4525,N719MQ,LGA,XNA,NA,1147,15,30,2013-01-01T20:00:00Z
2013,9,30,NA,840,NA,NA,1020,NA,MQ,3531,N839MQ,LGA,RDU,NA,431,8,40,2013-09-30T12:00:00Z
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"flight_time_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_columns_that_are_fetched() -> None:
    table = script("fetch").table_of(CSV)
    assert table.to_pydict() == {
        "flight": [0, 1, 2, 3],
        "air_time": [227, 227, None, None],
        "distance": [1400, 1416, 1147, 431],
        "hour": [5, 5, 15, 8],
        "weekday": ["Tue", "Tue", "Tue", "Mon"],
        "day_of_year": [1, 1, 1, 273],
        "origin": ["EWR", "LGA", "LGA", "LGA"],
        "dest": ["IAH", "IAH", "XNA", "RDU"],
        "carrier": ["UA", "UA", "MQ", "MQ"],
    }
    problem = load_problem(str(EXAMPLE / "flight_time.py")).problem
    declared = {problem.key, problem.label.name, *(column.name for column in problem.columns)}
    assert declared == set(table.column_names)


def test_another_file_is_refused() -> None:
    with pytest.raises(RuntimeError, match="expected SHA-256 b6b5560e"):
        script("fetch").unpack(b"another")


def test_baselines_on_the_splits_of_the_examples(tmp_path: Path) -> None:
    baselines = script("baselines")
    flown = script("fetch").table_of(CSV).slice(0, 2)
    table = pa.concat_tables([flown] * 300)
    times = pa.array([227 if row % 2 else 200 for row in range(600)], pa.int64())
    table = table.set_column(0, "flight", pa.array(range(600), pa.int64())).set_column(1, "air_time", times)
    pq.write_table(table, tmp_path / "flights.parquet")
    file = load_problem(str(EXAMPLE / "flight_time.py"))
    source, output = str(tmp_path / "flights.parquet"), tmp_path / "examples"
    pipeline.preprocess(file, pipeline.PreprocessConfig(source, str(output), "0" * 16, data_version="0" * 64))
    train, evaluation, test = (baselines.read(output, split) for split in ("train", "eval", "test"))
    assert len(train["air_time"]) + len(evaluation["air_time"]) + len(test["air_time"]) == 600
    assert set(train["origin x dest"]) == {"EWR-IAH", "LGA-IAH"}
    for model in (baselines.LeastSquares(1e-6), baselines.Boosting(31, 0.1)):
        model.fit(train, evaluation)
        assert baselines.metrics(model.predict(test), test["air_time"])["root_mean_squared_error"] < 0.1


def test_metrics_by_hand() -> None:
    found = script("baselines").metrics(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert found == {
        "root_mean_squared_error": pytest.approx(3**0.5),
        "mean_absolute_error": 1.0,
        "r_squared": pytest.approx(1 - 3 / (2 / 3)),
    }
