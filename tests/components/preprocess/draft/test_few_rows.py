"""Of few rows, the fractions of the drafted splits leave none empty, and preprocessing finds them as the draft did."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.draft.few_rows import fitting_splits
from headrace.components.preprocess.draft.read import first_rows
from headrace.components.preprocess.draft.write_problem import draft
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.errors import DataError
from headrace.core.problem import Numeric, Problem, Splits
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.sources.open import list_parts, read_part


def drafted(folder: Path, columns: dict[str, Any]) -> ProblemFile:
    pq.write_table(pa.table(columns), folder / "table.parquet")
    (folder / "problem.py").write_text(draft(str(folder / "table.parquet"), label="y").source)
    return load_problem(str(folder / "problem.py"))


def rows_of(folder: Path, file: ProblemFile) -> dict[str, int]:
    config = PreprocessConfig(str(folder / "table.parquet"), str(folder / "out"), "0" * 16)
    return dict(preprocess(file, config).splits)


def numbers(rows: int, seed: int, scale: float = 1.0) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0, 1) * scale for _ in range(rows)]


# Of about half of these, halves and quarters leave a split without rows.
@pytest.mark.parametrize("seed", [2, 3, 9, 22, 50])
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e290], ids=["usual", "tiny", "huge"])
def test_no_split_of_ten_rows_is_empty(tmp_path: Path, seed: int, scale: float) -> None:
    found = rows_of(tmp_path, drafted(tmp_path, {"x": numbers(10, seed, scale), "y": numbers(10, seed + 1)}))
    assert all(found.values())
    assert sum(found.values()) == 10


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_nor_is_one_of_rows_with_keys(tmp_path: Path, seed: int) -> None:
    columns = {"id": [f"{seed}k{n}" for n in range(10)], "x": numbers(10, seed), "y": numbers(10, seed + 1)}
    file = drafted(tmp_path, columns)
    assert file.problem.splits != Splits(0.5, 0.25, 0.25)
    assert "There are few rows: with other fractions, a split may have none." in (tmp_path / "problem.py").read_text()
    found = rows_of(tmp_path, file)
    assert all(found.values())
    assert sum(found.values()) == 10


def test_rows_without_a_label_do_not_count(tmp_path: Path) -> None:
    for seed in range(6):
        y = [value if row % 2 else None for row, value in enumerate(numbers(12, seed))]
        found = rows_of(tmp_path, drafted(tmp_path, {"x": numbers(12, seed + 1), "y": y}))
        assert all(found.values())
        assert sum(found.values()) == 6


def test_the_label_varies_where_it_is_learned_and_measured(tmp_path: Path) -> None:
    for seed in range(6):
        y = ["no"] * 9 + ["yes"] * 3
        random.Random(seed).shuffle(y)
        file = drafted(tmp_path, {"x": numbers(12, seed), "z": numbers(12, seed + 1), "y": y})
        rows_of(tmp_path, file)
        for split in ("train", "test"):
            assert labels_of(tmp_path / "out", split) == {"no", "yes"}


def labels_of(examples: Path, split: str) -> set[str]:
    parts = list_parts(str(examples / split))
    return {text for part in parts for rows in read_part(part, ["y"], 100) for text in rows.batch["y"].to_pylist()}


def test_usual_fractions_stay_where_they_fit(tmp_path: Path) -> None:
    columns = {"x": numbers(150, 1), "y": numbers(150, 2)}
    assert drafted(tmp_path, columns).problem.splits == Splits(0.6, 0.2, 0.2)
    assert (
        drafted(tmp_path, {name: np.repeat(column, 2) for name, column in columns.items()}).problem.splits == Splits()
    )


def test_two_valid_rows_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": numbers(12, 1), "y": [float(n) for n in range(12)]}), table)
    problem = Problem("few", None, Numeric("y", maximum=1), [Numeric("x")])
    few = r'too few rows.*Expected 10 rows or more with a value of the label "y"\. Received: 2 rows'
    with pytest.raises(DataError, match=few):
        fitting_splits(problem, first_rows(str(table), 100), str(table))
