"""Requests of a small problem, of any number of days, for the tests of monitoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROBLEM = """
from headrace import Categorical, Gate, Monitor, Numeric, Problem

problem = Problem(
    name="births",
    key="id",
    label=Numeric("weight", minimum=0),
    features=[Numeric("age", minimum=10, maximum=70, optional=True), Categorical("plurality"), Numeric("weeks")],
    gate=Gate("root_mean_squared_error", at_most=2.0),
    monitor=Monitor({monitor}),
)
"""
# 2026-03-01T00:00:00Z, and the seconds of a day.
START, DAY = 1_772_323_200, 86_400


def write_problem(folder: Path, monitor: str = "") -> Path:
    """The Problem file, with the arguments of its Monitor."""
    path = folder / "problem.py"
    path.write_text(PROBLEM.format(monitor=monitor))
    return path


def requests(seed: int, rows: int, days: int, **changed: Any) -> pa.Table:
    """Rows whose times are even over some days; columns in `changed` replace drawn ones."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "id": [f"{seed}-{row}" for row in range(rows)],
        "age": random.normal(30, 5, rows).round(),
        "plurality": np.array(["1", "2", "3"])[random.choice(3, rows, p=[0.9, 0.08, 0.02])],
        "weeks": random.normal(39, 2, rows),
        "time": pa.array(START * 1_000_000 + np.arange(rows) * (days * DAY * 1_000_000 // rows), pa.timestamp("us")),
        "prediction": random.normal(7, 1, rows),
    }
    return pa.table(columns | changed)


def write(path: Path, table: pa.Table) -> str:
    """A Parquet file, and its path."""
    pq.write_table(table, path)
    return str(path)
