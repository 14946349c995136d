"""The Problem file that is written from a table loads, fits the table, and says what was seen and chosen."""

from __future__ import annotations

import datetime
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.components.preprocess.draft.write_problem import _outward, draft
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Numeric
from headrace.core.problem.file import ProblemFile, load_problem

BIRTHS = Path(__file__).parents[4] / "examples" / "natality" / "births.csv"
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def load(folder: Path, source: str) -> ProblemFile:
    (folder / "problem.py").write_text(source)
    return load_problem(str(folder / "problem.py"))


def of_table(folder: Path, columns: dict[str, Any], **options: Any) -> tuple[ProblemFile, str]:
    pq.write_table(pa.table(columns), folder / "table.parquet")
    source = draft(str(folder / "table.parquet"), **options).source
    return load(folder, source), source


@pytest.mark.parametrize("label", ["weight_pounds", "plurality", "is_male", ""])
def test_of_the_births_every_row_passes(tmp_path: Path, label: str) -> None:
    found = draft(str(BIRTHS), label=label)
    file = load(tmp_path, found.source)
    assert (found.key, found.rows, found.complete) == ("record_id", 1450, True)
    assert file.problem.label.name == (label or found.label)
    assert len(file.problem.columns) == 8
    result = preprocess(file, PreprocessConfig(str(BIRTHS), str(tmp_path / "examples"), "0" * 16))
    assert (result.rows_in, result.rows_out) == (1450, 1450)
    assert ("CHOSEN" in found.source) == (not label)


def test_of_some_rows_it_is_told(tmp_path: Path) -> None:
    found = draft(str(BIRTHS), label="weight_pounds", rows=300)
    assert 'Inferred from the first 300 rows of "births.csv"' in found.source
    assert (found.rows, found.complete) == (300, False)
    plurality = next(c for c in load(tmp_path, found.source).problem.columns if c.name == "plurality")
    assert isinstance(plurality, Categorical)
    assert plurality.max_unknown == 0.01


def test_every_kind_of_column(tmp_path: Path) -> None:
    rows = 400
    file, source = of_table(
        tmp_path,
        {
            "order_id": [f"o{place}" for place in range(rows)],
            "other": [f"x{place}" for place in range(rows)],
            "flag": [place % 2 for place in range(rows)],
            "amount": [None if place < 8 else place / 7 for place in range(rows)],
            "city": [f"city {place % 90}" for place in range(rows)],
            "quoted": ['say "yes"' if place % 3 else "it's\n" for place in range(rows)],
            "day": [datetime.date(2026, 1, 1 + place % 28) for place in range(rows)],
            "text_day": [f"2026-01-{1 + place % 28:02d}" for place in range(rows)],
            "constant": ["same"] * rows,
            "empty": pa.nulls(rows),
            "prediction": list(range(rows)),
            "bad name": ["a", "b"] * (rows // 2),
            "nested": [[1]] * rows,
            "target": ["no", "yes"] * (rows // 2),
        },
    )
    problem = file.problem
    assert (problem.key, problem.task) == ("order_id", "binary")
    assert problem.label == Categorical("target", vocabulary=["no", "yes"])
    assert problem.columns == (
        Categorical("flag", vocabulary=["0", "1"]),
        Numeric("amount", minimum=0, maximum=60, optional=True),
        Categorical("city", hash_buckets=256, embedding=4),
        Categorical("quoted", vocabulary=['say "yes"', "it's\n"]),
    )
    for line in (
        '"other" is left out',
        '"day" is left out: a date',
        '"text_day" is left out: a date',
        'always "same"',
        '"empty" is left out: it has no values',
        '"prediction" is left out',
        '"bad name" is left out',
        "2.0% missing",
    ):
        assert line in source


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"a": [1, 1], "b": [2, 3.5]}, {}, "no column can be the key"),
        ({"id": ["a", "b"], "b": [2, 3]}, {"key": "none"}, "there is no such column"),
        ({"id": ["a", "b"], "b": [2, 2]}, {"key": "b"}, "does not identify rows"),
        ({"id": ["a", "b"], "b": [2, 3]}, {"label": "id"}, "id cannot be the label"),
        ({"id": ["a", "b"], "b": [2, 2]}, {}, "no column can be the label"),
        ({"id": ["a", "b", "c"], "b": [1, 2, 2]}, {}, "no column can be a feature"),
        ({"id": pa.array([], pa.string())}, {}, "there are no rows"),
    ],
)
def test_refusals(tmp_path: Path, columns: dict[str, Any], options: dict[str, str], said: str) -> None:
    with pytest.raises((DataError, UsageError), match=said):
        of_table(tmp_path, columns, **options)


@given(FINITE, FINITE, st.booleans())
@example(0.0, 5e-324, False)
@example(-5e-324, 0.0, False)
@example(-sys.float_info.max, sys.float_info.max, False)
@example(1e308, sys.float_info.max, False)
def test_bounds_are_rounded_outward(one: float, other: float, complete: bool) -> None:
    low, high = min(one, other), max(one, other)
    bottom, top = (float(bound) for bound in _outward(low, high, complete))
    assert -math.inf < bottom <= low
    assert high <= top < math.inf
    assert bottom >= 0 or low < 0
    if low < high:
        Numeric("x", minimum=bottom, maximum=top)


def test_bounds_that_a_reader_would_write() -> None:
    assert _outward(13, 43, True) == ("10", "45")
    assert _outward(0.75, 11.3125, True) == ("0", "15")
    assert _outward(0.12, 0.98, True) == ("0.1", "1")
    assert _outward(13, 43, False) == ("5", "50")
