"""What is asked of the data as a whole refuses it with a table of what was seen and expected."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.components.preprocess.limits import read_baseline
from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.errors import DataError, HeadraceError
from headrace.core.problem import Categorical, Drift, Numeric
from headrace.core.problem.file import load_problem

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
HEADER, *ROWS = (EXAMPLE / "births.csv").read_text().splitlines()
NAMES = HEADER.split(",")


def run(folder: Path, rows: list[str] | None = None, *, features: dict[str, Any] | None = None, baseline: str = "",
        **declared: Any) -> PreprocessResult:  # fmt: skip
    problem = PROBLEM_FILE.problem
    kept = [(features or {}).get(feature.name, feature) for feature in problem.features]
    file = dataclasses.replace(PROBLEM_FILE, problem=dataclasses.replace(problem, features=kept, **declared))
    folder.mkdir(exist_ok=True)
    (folder / "births.csv").write_text("\n".join([HEADER, *(ROWS if rows is None else rows)]) + "\n")
    config = PreprocessConfig(str(folder / "births.csv"), str(folder / "out"), "0123456789abcdef", baseline=baseline)
    return preprocess(file, config)


def changed(row: str, **values: str) -> str:
    fields = row.split(",")
    for name, value in values.items():
        fields[NAMES.index(name)] = value
    return ",".join(fields)


def test_unknown_values_are_kept_up_to_a_share(tmp_path: Path) -> None:
    known = {"plurality": Categorical("plurality", vocabulary=["single", "twins"], max_unknown=0.01)}
    triplets = sum(",triplets," in row for row in ROWS)
    assert 0 < triplets < 14
    assert run(tmp_path / "kept", features=known).rows_quarantined == 1
    statistics = json.loads((tmp_path / "kept" / "out" / "statistics.json").read_text())
    assert "triplets" in dict(statistics["columns"]["plurality"]["vocabulary"])
    with pytest.raises(DataError) as error:
        run(tmp_path / "refused", [changed(row, plurality="four") for row in ROWS[:20]] + ROWS[20:], features=known)
    assert error.value.what == 'more values of "plurality" are unknown than the Problem allows'
    assert error.value.table is not None
    assert error.value.table[0] == ["column", "measure", "seen", "expected", ""]
    assert error.value.table[1][:2] == ["plurality", "unknown values"]
    assert error.value.table[1][3:] == ["at most 1 %", "too much"]
    assert not (tmp_path / "refused" / "out").exists()


def test_missing_values_of_an_optional_column_have_a_bound(tmp_path: Path) -> None:
    gain = {"weight_gain_pounds": Numeric("weight_gain_pounds", optional=True, max_missing=0.05)}
    run(tmp_path / "kept", features=gain)
    rows = [changed(row, weight_gain_pounds="") if place % 10 == 0 else row for place, row in enumerate(ROWS)]
    with pytest.raises(DataError) as error:
        run(tmp_path / "refused", rows, features=gain)
    assert 'more values of "weight_gain_pounds" are missing' in error.value.paragraph
    lines = error.value.text.splitlines()
    assert lines[0] == error.value.paragraph
    assert lines[2].split() == ["column", "measure", "seen", "expected"]
    assert lines[3].endswith("at most 5 %  too much")


def test_drift_is_judged_by_column(tmp_path: Path) -> None:
    run(tmp_path / "before")
    baseline = str(tmp_path / "before" / "out")
    drift = Drift(jensen_shannon=0.05, l_infinity=0.1, columns={"weight_pounds": Drift()})
    run(tmp_path / "same", baseline=baseline, drift=drift)
    assert (tmp_path / "same" / "out" / "statistics.json").read_bytes() == (
        tmp_path / "before" / "out" / "statistics.json"
    ).read_bytes()
    rows = [changed(row, mother_age="40", plurality="twins", weight_pounds="3") for row in ROWS]
    run(tmp_path / "without", rows, baseline=baseline)
    with pytest.raises(DataError) as error:
        run(tmp_path / "moved", rows, baseline=f"{baseline}/statistics.json", drift=drift)
    assert "has drifted from the baseline, and 2 more" in error.value.paragraph
    assert error.value.table is not None
    judged = {(row[0], row[1]): row[4] for row in error.value.table[1:]}
    assert {column for (column, _), mark in judged.items() if mark == "too much"} == {"mother_age", "plurality"}
    assert judged["mother_married", "L-infinity distance"] == "ok"
    assert "weight_pounds" not in {column for column, _ in judged}
    carried = HeadraceError.from_json(json.loads(json.dumps(error.value.to_json())))
    assert (carried.table, carried.text) == (error.value.table, error.value.text)
    assert not (tmp_path / "moved" / "out").exists()


def test_a_baseline_of_another_problem(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    path.write_text('{"format": 1, "rows": 1, "columns": {}}')
    with pytest.raises(DataError, match='the baseline cannot be compared in the column "mother_age"'):
        run(tmp_path, baseline=str(path), drift=Drift(jensen_shannon=0.1))
    path.write_text("[]")
    with pytest.raises(DataError, match=r"not a statistics\.json"):
        read_baseline(str(path))
    with pytest.raises(DataError, match="the file does not exist"):
        read_baseline(str(tmp_path / "none.json"))


def test_equal_rows_of_other_keys(tmp_path: Path) -> None:
    again = [changed(row, record_id=f"again-{place}") for place, row in enumerate(ROWS[:7])]
    assert run(tmp_path / "allowed", [*ROWS, *again]).rows_quarantined == 1
    alone = run(tmp_path / "alone", duplicate_rows="quarantine").reasons.get("duplicate_row", 0)
    result = run(tmp_path / "refused", [*ROWS, *again, ROWS[3]], duplicate_rows="quarantine")
    assert result.reasons == {"duplicate_key": 1, "duplicate_row": alone + 7, "missing_value": 1}
    assert result.rows_in == result.rows_out + result.rows_quarantined == len(ROWS) + 8
    (file,) = (tmp_path / "refused" / "out" / "quarantine").iterdir()
    rows = {row.row: row for row in read_rows(str(file))}
    assert rows[1451].fault.message == "the row equals row 1 of births.csv in all but its key"
    assert rows[1451].fault.column is None
    assert rows[1451].values["record_id"] == "again-0"


def test_a_spent_budget_has_a_table(tmp_path: Path) -> None:
    rows = [changed(row, mother_age="x" if place % 2 else "") if place < 200 else row for place, row in enumerate(ROWS)]
    with pytest.raises(DataError, match="the quarantine budget is spent") as error:
        run(tmp_path, rows)
    assert error.value.table == [
        ["reason", "rows", "share", "expected"],
        ["missing_value", "101", "6.97%", ""],
        ["not_a_number", "100", "6.90%", ""],
        ["all", "201", "13.86%", "at most 5 %"],
    ]
