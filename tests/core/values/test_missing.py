"""Missing values as tables write them: only the empty field, until the Problem says which others are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.preprocess.draft.write_problem import draft
from headrace.components.preprocess.spellings import check_spellings
from headrace.core.errors import DataError, ProblemError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.file import load_problem
from headrace.core.rows.validate import validate
from headrace.core.saved_model.interface import ModelInput
from headrace.core.saved_model.json.columns import Interface, columns_from_instances
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.scoring.to_tensors import feeds_of
from headrace.core.sources.source import Part, Rows
from headrace.core.values.columns import blank
from headrace.core.values.missing import declaration

PLAIN = Problem(
    name="m",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x", optional=True), Categorical("c", optional=True), Categorical("d", optional=True)],
)
DECLARED = dataclasses.replace(PLAIN, missing=["NA", "-"])


def checked(problem: Problem, **columns: list[Any]) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    result = validate(problem, Rows(Part(0, "a.csv"), batch, np.arange(1, batch.num_rows + 1)))
    return result.batch.to_pylist(), [(row.row, row.fault.reason) for row in result.quarantined]


def test_declared_texts_are_missing_in_numbers_and_categories() -> None:
    columns = {
        "id": ["NA", "2", "3"],
        "y": ["1", "2", "3"],
        "x": ["1", " NA ", "-"],
        "c": ["-", "NA", "a"],
        "d": [1, 2, None],
    }
    rows, quarantined = checked(DECLARED, **columns)
    assert quarantined == []
    # A key is what it is.
    assert rows == [
        {"id": "NA", "y": 1.0, "x": 1.0, "c": None, "d": "1"},
        {"id": "2", "y": 2.0, "x": None, "c": None, "d": "2"},
        {"id": "3", "y": 3.0, "x": None, "c": "a", "d": None},
    ]
    rows, quarantined = checked(PLAIN, **columns)
    assert [row["c"] for row in rows] == ["-"]
    assert quarantined == [(2, "not_a_number"), (3, "not_a_number")]


def test_what_is_declared_changes_the_digests_and_nothing_else_does() -> None:
    assert dataclasses.replace(PLAIN, missing=()).schema_digest == PLAIN.schema_digest != DECLARED.schema_digest
    assert PLAIN.training_digest != DECLARED.training_digest
    assert DECLARED.to_json()["missing"] == ["NA", "-"]


@pytest.mark.parametrize("missing", ["NA", [""], ["a", "a"], [1], None])
def test_what_cannot_be_declared(missing: Any) -> None:
    with pytest.raises(ProblemError, match="missing is wrong"):
        dataclasses.replace(PLAIN, missing=missing)


def test_scoring_and_serving_know_them_too() -> None:
    words = ("NA", "-")
    batch = pa.record_batch({"x": pa.array(["1", "NA"]), "c": pa.array(["-", "a"]).dictionary_encode()})
    inputs = [ModelInput("x", "float32", None, ("x",), optional=True, missing=words),
              ModelInput("c", "string", None, ("c",), optional=True, missing=words)]  # fmt: skip
    made = feeds_of(batch, inputs)
    assert made.faults == []
    assert np.isnan(made.feeds[0].numbers).tolist() == [False, True]  # type: ignore[arg-type]
    assert made.feeds[1].texts[0].to_pylist() == ["", "a"]
    interface = Interface(
        (
            InputFeature("x", "numeric", optional=True, missing=words),
            InputFeature("c", "categorical", optional=True, missing=words),
        )
    )
    columns = columns_from_instances([{"x": "NA", "c": "-"}, {"x": 1, "c": "a"}], interface)
    assert np.isnan(columns["x"]).tolist() == [True, False]
    assert columns["c"].tolist() == ["", "a"]
    with pytest.raises(DataError, match="it is a string"):
        columns_from_instances([{"x": "N/A", "c": "a"}], interface)


def test_categories_that_look_missing_get_a_warning() -> None:
    statistics = {"columns": {"c": {"vocabulary": [["a", 5], ["N/A", 2]]}, "d": {"vocabulary": [["b", 1]]}}}
    assert check_spellings(PLAIN, "data", statistics, {}) == [
        'warning: "c" has categories that look like missing values; missing=["N/A"] in the Problem makes them missing'
    ]


def test_a_draft_states_how_the_table_writes_them(tmp_path: Path) -> None:
    lines = [f"{n},{'NA' if n % 10 == 0 else n * 1.5},{'-' if n % 7 == 0 else 'ab'[n % 2]},{n % 2}" for n in range(200)]
    (tmp_path / "a.csv").write_text("id,x,c,y\n" + "\n".join(lines))
    (tmp_path / "p.py").write_text(draft(str(tmp_path / "a.csv"), label="y").source)
    problem = load_problem(str(tmp_path / "p.py")).problem
    assert problem.missing == ("-", "NA")
    x, c = problem.columns
    assert isinstance(x, Numeric)
    assert x.optional
    assert isinstance(c, Categorical)
    assert c.optional
    assert set(c.vocabulary or ()) == {"a", "b"}


# What pandas reads as missing, but the blank; the errors of spreadsheets; what databases and the World Bank write.
WRITTEN = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "\\N", "(null)",
    "NaT", "N.A.", "n.a.", "..", "-",
)  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
def test_a_draft_knows_how_tables_write_a_missing_number(tmp_path: Path, written: str) -> None:
    rows = [f"{written if n % 9 == 0 else n / 8},{n / 3}\n" for n in range(90)]
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(rows))
    (tmp_path / "p.py").write_text(draft(str(tmp_path / "a.csv"), label="y").source)
    problem = load_problem(str(tmp_path / "p.py")).problem
    assert problem.missing == (written,)
    (x,) = problem.columns
    assert isinstance(x, Numeric)
    assert x.optional


def test_blank_leaves_other_columns_as_they_are() -> None:
    column = pa.array([1, 2])
    assert blank(column, ["1"]) is column
    assert blank(pa.array(["1"]), []).to_pylist() == ["1"]
    assert declaration(["b", "a"]) == 'missing=["a", "b"]'
