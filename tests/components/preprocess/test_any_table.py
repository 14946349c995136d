"""Any table becomes Examples: columns of any name, no key column, and any text that stands for a missing value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.append.spans import append
from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Manifest, Schema
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, ProblemError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

HEADER = "from headrace import Categorical, Numeric, Problem, Splits\nproblem = Problem(name='t', "
KEYLESS = f"""{HEADER}key=None, label=Numeric("y"), quarantine_budget=0.2, missing=["n/d", "-999"],
    features=[Numeric("mass", column="Body Mass (g)", optional=True), Categorical("sort", column="", optional=True)])
"""


def problem_file(folder: Path, source: str) -> ProblemFile:
    (folder / "problem.py").write_text(source)
    return load_problem(str(folder / "problem.py"))


def run(file: ProblemFile, data: Path, output: Path, **options: Any) -> PreprocessResult:
    version = storage.fingerprint([str(data)])
    return preprocess(file, PreprocessConfig(str(data), str(output), version[:16], version, **options))


def rows_of(examples: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each split: all columns of the schema, in its order."""
    names = [column.name for column in Schema.read(str(examples)).columns]
    found: dict[str, list[tuple[Any, ...]]] = {}
    for split in SPLITS:
        found[split] = []
        for shard in Manifest.read(str(examples)).splits[split].shards:
            for records in read_records(examples / shard.file, compressed=False):
                columns = [decode(records, names).column(name).to_pylist() for name in names]
                found[split] += zip(*columns, strict=True)
    return found


def csv(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([",Body Mass (g),y,z,z", *rows]) + "\n")
    return path


LINES = [f"s{n % 5},{n % 40},{n % 8},q,q" for n in range(400)]


def keys(rows: dict[str, list[tuple[Any, ...]]]) -> dict[str, str]:
    """The split of each key."""
    found = {row[-1].decode(): split for split in rows for row in rows[split]}
    assert len(found) == sum(map(len, rows.values()))
    return found


def test_columns_of_any_name_and_no_key(tmp_path: Path) -> None:
    file = problem_file(tmp_path, KEYLESS)
    lines = [*LINES, "s1, n/d ,1,q,q", "-,-999,1,q,q", "s1,x,3,q,q"]
    result = run(file, csv(tmp_path / "a.csv", lines), tmp_path / "out", batch_rows=64)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (403, 402, 1)
    assert [column.name for column in Schema.read(str(tmp_path / "out")).columns] == ["mass", "sort", "y", "key"]
    (row,) = read_rows(quarantine_files(str(tmp_path / "out"))[0])
    assert (row.fault.column, row.values) == ("Body Mass (g)", {"y": "3", "Body Mass (g)": "x", "": "s1"})
    assert "Body Mass (g) is" in row.fault.message
    rows = rows_of(tmp_path / "out")
    assert sum(mass is None for split in rows.values() for mass, *_ in split) == 2
    # 40 contents, each ten times: the splits are of rows, not of contents.
    assert {split: len(of) > 20 for split, of in rows.items()} == {"train": True, "eval": True, "test": True}
    assert len(keys(rows)) == 402


def test_keys_and_splits_stay_when_rows_are_added(tmp_path: Path) -> None:
    file = problem_file(tmp_path, KEYLESS)
    run(file, csv(tmp_path / "a.csv", LINES), tmp_path / "a")
    run(file, csv(tmp_path / "b.csv", [*LINES[:30], *LINES]), tmp_path / "b", batch_rows=16, shard_rows=50)
    first, later = keys(rows_of(tmp_path / "a")), keys(rows_of(tmp_path / "b"))
    assert later.items() >= first.items()
    # The same values as Parquet types them.
    parsed = [line.split(",") for line in LINES]
    table = [[row[0] for row in parsed], [float(row[1]) for row in parsed], [int(row[2]) for row in parsed]]
    pq.write_table(pa.table(table, names=["", "Body Mass (g)", "y"]), tmp_path / "c.parquet")
    run(file, tmp_path / "c.parquet", tmp_path / "c")
    assert keys(rows_of(tmp_path / "c")) == first
    # The same rows again, appended: they are other rows, as in one file.
    data = csv(tmp_path / "more.csv", LINES[:30])
    append(file, PreprocessConfig(str(data), str(tmp_path / "a"), storage.fingerprint([str(data)])[:16]))
    assert keys(rows_of(tmp_path / "a")) == later


def test_equal_rows_without_a_key_are_found_where_they_are_not_wanted(tmp_path: Path) -> None:
    source = KEYLESS.replace("key=None", 'key=None, duplicate_rows="quarantine"').replace("=0.2", "=0.95")
    result = run(problem_file(tmp_path, source), csv(tmp_path / "a.csv", LINES), tmp_path / "out")
    assert (result.rows_out, result.reasons) == (40, {"duplicate_row": 360})
    first = next(read_rows(quarantine_files(str(tmp_path / "out"))[0]))
    assert first.fault.message == "the row equals row 1 of a.csv"


DERIVED = """from headrace import Categorical, Numeric, Problem
from headrace.expressions import col
problem = Problem(name="t", key=None, label=Numeric("y", column="Goal (m)"), quarantine_budget=0.2, missing=["n/d"],
    features=[Numeric("mass", column="Body Mass (g)"), Categorical("sort", column=""), Numeric("half"),
        Categorical("mass_text", column="Body Mass (g)"), Numeric("twice", optional=True)],
    derive={"half": col("mass") / 2, "twice": col("z") * 2})
"""


def test_derived_features_of_columns_of_any_name_without_a_key(tmp_path: Path) -> None:
    file = problem_file(tmp_path, DERIVED)
    head = ",Body Mass (g),Goal (m),z"
    lines = [f"s{n % 5},{n % 40},{n % 8},{n % 3}" for n in range(400)]
    (tmp_path / "a.csv").write_text("\n".join([head, *lines, "s1,n/d,1,2", "s1,4,x,2", "s1,4,1,n/d"]) + "\n")
    result = run(file, tmp_path / "a.csv", tmp_path / "out", batch_rows=64)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (403, 401, 2)
    schema = {column.name: (column.role, column.source_column) for column in Schema.read(str(tmp_path / "out")).columns}
    assert schema == {
        "mass": ("feature", "Body Mass (g)"),
        "sort": ("feature", ""),
        "half": ("derived", "half"),
        "mass_text": ("feature", "Body Mass (g)"),
        "twice": ("derived", "twice"),
        "z": ("input", "z"),
        "y": ("label", "Goal (m)"),
        "key": ("key", "key"),
    }
    rows = rows_of(tmp_path / "out")
    assert {
        (half, text.decode(), twice) for of in rows.values() for mass, _, half, text, twice, *_ in of if mass == 4
    } == {(2, "4", 0), (2, "4", 2), (2, "4", 4), (2, "4", None)}
    absent, wrong = read_rows(quarantine_files(str(tmp_path / "out"))[0])
    assert (absent.fault.column, absent.fault.reason) == ("Body Mass (g)", "missing_value")
    assert (wrong.fault.column, wrong.fault.reason) == ("Goal (m)", "not_a_number")
    assert wrong.values == {"Goal (m)": "x", "Body Mass (g)": "4", "": "s1", "z": "2"}
    # Equal rows that are appended are numbered on, as in one file.
    (tmp_path / "more.csv").write_text("\n".join([head, *lines[:30]]) + "\n")
    append(file, PreprocessConfig(str(tmp_path / "more.csv"), str(tmp_path / "out"), "0" * 16))
    (tmp_path / "b.csv").write_text("\n".join([head, *lines, "s1,4,1,n/d", *lines[:30]]) + "\n")
    run(file, tmp_path / "b.csv", tmp_path / "whole")
    assert keys(rows_of(tmp_path / "out")) == keys(rows_of(tmp_path / "whole"))


def test_a_column_is_asked_for_by_its_name_in_the_table(tmp_path: Path) -> None:
    file = problem_file(tmp_path, DERIVED)
    (tmp_path / "a.csv").write_text(",Body Mass (g),y,z\n" + "s,1,2,3\n" * 20)
    with pytest.raises(DataError, match=r'the column "Goal \(m\)", which is the label, does not exist'):
        run(file, tmp_path / "a.csv", tmp_path / "out")
    (tmp_path / "a.csv").write_text(",Body Mass (g),Goal (m),z\n" + "s,heavy,2,3\n" * 20)
    with pytest.raises(DataError, match=r'the column "Body Mass \(g\)" is of the wrong type'):
        run(file, tmp_path / "a.csv", tmp_path / "out")


def test_a_key_of_any_name(tmp_path: Path) -> None:
    source = f"""{HEADER}key="Sample No.", label=Numeric("y"), features=[Numeric("x")])"""
    file = problem_file(tmp_path, source)
    pq.write_table(pa.table({"Sample No.": range(80), "x": range(80), "y": range(80)}), tmp_path / "a.parquet")
    run(file, tmp_path / "a.parquet", tmp_path / "out")
    (key,) = (c for c in Schema.read(str(tmp_path / "out")).columns if c.role == "key")
    assert (key.name, key.column, key.optional) == ("key", "Sample No.", False)
    assert {row[-1] for of in rows_of(tmp_path / "out").values() for row in of} == {str(n).encode() for n in range(80)}
    twice = [*range(70), *range(10)]
    pq.write_table(pa.table({"Sample No.": twice, "x": range(80), "y": range(80)}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r'row 71: Sample No. is "0", which row 1 of b.parquet has already'):
        run(file, tmp_path / "b.parquet", tmp_path / "twice")


def test_a_number_of_a_typed_column_is_no_text(tmp_path: Path) -> None:
    file = problem_file(tmp_path, KEYLESS)
    mass = [-999 if n % 8 == 0 else n for n in range(80)]
    table = pa.table([["a"] * 80, mass, range(80)], names=["", "Body Mass (g)", "y"])
    pq.write_table(table, tmp_path / "a.parquet")
    run(file, tmp_path / "a.parquet", tmp_path / "out")
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())["columns"]["mass"]
    assert (statistics["missing"], statistics["minimum"]) == (0, -999)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"key": 3}, "key is wrong"),
        ({"key": "Y"}, "the key is used"),
        ({"missing": "NA"}, "missing is wrong"),
        ({"features": [Numeric("x", column="Y")]}, "the label is among"),
    ],
)
def test_refused_declarations(changed: dict[str, Any], said: str) -> None:
    plain: dict[str, Any] = {"name": "t", "key": None, "label": Numeric("y", column="Y"), "features": [Numeric("x")]}
    assert Problem(**plain).key_name == "key"
    with pytest.raises(ProblemError, match=said):
        Problem(**{**plain, **changed})
    with pytest.raises(ProblemError, match="column is wrong"):
        Categorical("x", column=3)  # type: ignore[arg-type]


def test_what_is_not_declared_changes_no_digest() -> None:
    plain = Problem("t", "id", Numeric("y"), [Numeric("x")])
    named = Problem("t", "id", Numeric("y"), [Numeric("x", column="X")])
    assert plain.schema_digest == "ac5ed4f0c1938e9bf4bc19e2dc49b24dff628e1a2614983651fd0d4d7668d03c"
    assert named.schema_digest != plain.schema_digest
    assert Problem("t", "id", Numeric("y"), [Numeric("x")], missing=["NA"]).schema_digest != plain.schema_digest
