"""Distances of monitoring against those that Evidently 0.7 measured on the same rows: evidently_distances.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.drifted_tables import CATEGORIES, COUNTS, NUMBERS, table
from support.monitored import write

from headrace.components.monitor.config import MonitorConfig
from headrace.components.monitor.monitor import monitor
from headrace.core.problem.file import load_problem

FOUND = json.loads(Path(__file__).with_name("evidently_distances.json").read_text())
PROBLEM = f"""
from headrace import Categorical, Numeric, Problem

problem = Problem(
    name="drifted",
    key="id",
    label=Numeric("y"),
    features=[Categorical(name) for name in {CATEGORIES!r}] + [Numeric(name) for name in {COUNTS + NUMBERS!r}],
)
"""
# Evidently cuts the range of numbers into equal bins, as many as H. A. Sturges' rule gives, and headrace the reference
# into equal parts: two approximations of one distance.
NUMBERS_WITHIN = 0.01


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The root of each column's divergence in nats, before the sampling error is subtracted."""
    folder = tmp_path_factory.mktemp("drifted")
    (folder / "problem.py").write_text(PROBLEM)
    places = {which: write(folder / f"{which}.parquet", pa.table(table(which))) for which in ("reference", "current")}
    config = MonitorConfig(places["reference"], places["current"], str(folder / "monitoring"), now=2e9)
    monitor(load_problem(str(folder / "problem.py")), config)
    document: dict[str, Any] = json.loads((folder / "monitoring" / "monitoring.json").read_text())
    (window,) = document["windows"]
    return {name: math.sqrt(each["skew"]["measured"] * math.log(2)) for name, each in window["columns"].items()}


@pytest.mark.parametrize("column", [*CATEGORIES, *COUNTS])
def test_values_of_which_each_is_a_cell_are_as_far_apart_as_evidently_measures(
    measured: dict[str, float], column: str
) -> None:
    assert measured[column] == pytest.approx(FOUND["distances"][column], abs=1e-9)


@pytest.mark.parametrize("column", NUMBERS)
def test_numbers_are_about_as_far_apart_as_evidently_measures(measured: dict[str, float], column: str) -> None:
    assert measured[column] == pytest.approx(FOUND["distances"][column], abs=NUMBERS_WITHIN)


def test_what_has_not_drifted_is_nearer_than_all_that_has(measured: dict[str, float]) -> None:
    for distances in (measured, FOUND["distances"]):
        still = {distances.pop(name) for name in ("same", "still")}
        assert max(still) < 0.03 < min(distances.values())


def test_the_oracle_is_evidently() -> None:
    assert FOUND["evidently"].startswith("0.7.")
