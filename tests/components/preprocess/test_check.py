"""What is wrong with data is told before anything starts, each in one paragraph."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.check import check_data
from headrace.core.errors import DataError, NothingToDo
from headrace.core.problem import Problem
from headrace.core.problem.file import load_problem
from headrace.core.tfrecord.encoding import encode
from headrace.core.tfrecord.framing import frame

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM = load_problem(str(EXAMPLE / "natality.py")).problem
TEXT = (EXAMPLE / "births.csv").read_text()
HEADER, *ROWS = TEXT.splitlines()


def refusal(path: Path, content: str | bytes | None = None, problem: Problem = PROBLEM) -> DataError:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        check_data(problem, str(path))
    return error.value


def test_the_example_is_right() -> None:
    assert check_data(PROBLEM, str(EXAMPLE / "births.csv")) == [str(EXAMPLE / "births.csv")]
    assert check_data(PROBLEM, str(EXAMPLE)) == [str(EXAMPLE / "births.csv")]


def test_it_needs_no_beam() -> None:
    import subprocess

    code = (
        "import sys; from headrace.components.preprocess import check; "
        "print([name for name in ('apache_beam', 'tensorflow', 'kfp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (f"{HEADER}\n", "the data has no rows"),
        (TEXT.encode("utf-16"), "the file is not UTF-8"),
        (TEXT.encode()[:5000] + b"\xe9" + TEXT.encode()[5000:], "the file is not UTF-8"),
    ],
)
def test_files_that_hold_no_rows(tmp_path: Path, content: str | bytes, what: str) -> None:
    error = refusal(tmp_path / "births.csv", content, dataclasses.replace(PROBLEM, no_rows="refuse"))
    assert (error.what, error.exit_status) == (what, 2)
    assert error.where is not None
    assert error.where.startswith(f"{tmp_path}/births.csv")


@pytest.mark.parametrize("contents", [[""], [f"{HEADER}\n"], ["", f"{HEADER}\n"]])
def test_an_empty_day_is_nothing_to_do(tmp_path: Path, contents: list[str]) -> None:
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.csv").write_text(content)
    with pytest.raises(NothingToDo) as end:
        check_data(PROBLEM, str(tmp_path))
    assert (end.value.exit_status, end.value.where) == (0, str(tmp_path))
    assert end.value.what == "nothing to do: the data has no rows"


def test_a_file_without_rows_among_others_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "births.csv").write_text(TEXT)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "empty.jsonl").write_text("\n")
    assert len(check_data(PROBLEM, str(tmp_path))) == 3


def test_an_optional_column_may_be_absent_from_json_lines_where_another_file_has_it(tmp_path: Path) -> None:
    rows = pacsv.read_csv(EXAMPLE / "births.csv").slice(0, 50).to_pylist()
    without = [{name: value for name, value in row.items() if name != "cigarette_use"} for row in rows]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in without))
    assert refusal(tmp_path).what == 'the column "cigarette_use" does not exist'
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(check_data(PROBLEM, str(tmp_path))) == 2


def test_or_from_tfrecords(tmp_path: Path) -> None:
    # TFRecords have no booleans.
    texts = pacsv.ConvertOptions(true_values=[], false_values=[])
    rows = pacsv.read_csv(EXAMPLE / "births.csv", convert_options=texts).slice(0, 50).combine_chunks()
    (tmp_path / "a.tfrecord").write_bytes(frame(encode(rows.drop_columns(["cigarette_use"]).to_batches()[0])))
    assert refusal(tmp_path).what == 'the column "cigarette_use" does not exist'
    (tmp_path / "b.tfrecord").write_bytes(frame(encode(rows.to_batches()[0])))
    assert len(check_data(PROBLEM, str(tmp_path))) == 2


def test_a_text_among_the_numbers_of_json_is_a_fault_of_its_row(tmp_path: Path) -> None:
    rows = pacsv.read_csv(EXAMPLE / "births.csv").slice(0, 50).to_pylist()
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps(row | ({"mother_age": "old"} if n == 7 else {})) + "\n" for n, row in enumerate(rows))
    )
    assert len(check_data(PROBLEM, str(path))) == 1
    path.write_text(
        "".join(json.dumps(row | ({"mother_age": "old"} if n % 12 else {})) + "\n" for n, row in enumerate(rows))
    )
    error = refusal(path)
    assert (error.what, error.received) == ('the column "mother_age" is of the wrong type', '"old"')


@pytest.mark.parametrize(
    ("written", "option"), [("{:,}", "--csv thousands=,"), ("{:.1f}", "--csv decimal=,")], ids=["thousands", "decimal"]
)
def test_numbers_with_marks_are_refused_with_the_option_that_reads_them(
    tmp_path: Path, written: str, option: str
) -> None:
    table = pacsv.read_csv(EXAMPLE / "births.csv").slice(0, 100)
    at = table.schema.names.index("mother_age")
    ages = [str(age) if n % 10 else written.format(age + 1000.5 if "f" in written else age + 1000) for n, age in
            enumerate(table.column(at).to_pylist())]  # fmt: skip
    ages = [age.replace(".", ",") for age in ages]
    pacsv.write_csv(table.set_column(at, "mother_age", pa.array(ages)), tmp_path / "a.csv")
    error = refusal(tmp_path)
    assert error.what == 'the column "mother_age" is of the wrong type'
    assert option in str(error.fix)


def test_nothing_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").what == "no file, folder or match of the pattern exists"
    assert refusal(tmp_path / "*.csv").what == "no file, folder or match of the pattern exists"
    assert refusal(tmp_path).what == "the folder holds no data file"


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    label = refusal(tmp_path / "a.csv", TEXT.replace("weight_pounds", "weight_lbs", 1))
    assert label.what == 'the column "weight_pounds", which is the label, does not exist'
    assert label.received == HEADER.replace("weight_pounds", "weight_lbs", 1).replace(",", ", ")
    assert label.fix == 'Perhaps the column "weight_lbs" is meant'
    key = refusal(tmp_path / "a.csv", TEXT.replace("record_id", "Record_ID", 1))
    assert key.what == 'the column "record_id", which is the key, does not exist'
    assert key.fix == 'Perhaps the column "Record_ID" is meant'
    feature = refusal(tmp_path / "a.csv", TEXT.replace("plurality", "zzz", 1))
    assert (feature.what, feature.fix) == ('the column "plurality" does not exist', None)
    semicolons = refusal(tmp_path / "a.csv", TEXT.replace(",", ";"))
    assert semicolons.fix == "The fields seem to be separated by ';': give --csv delimiter=';'"
    assert semicolons.what == 'the column "record_id", which is the key, does not exist, and 9 more are gone'


def test_columns_that_are_gone_are_told_in_a_table(tmp_path: Path) -> None:
    gone = refusal(tmp_path / "a.csv", TEXT.replace("plurality", "zzz", 1).replace("mother_age", "age", 1))
    assert gone.what == 'the column "mother_age" does not exist, and 1 more is gone'
    assert gone.table is not None
    assert len(gone.table) == 11
    chosen = ("column", "record_id", "weight_pounds", "mother_age", "gestation_weeks", "plurality", "is_male")
    assert sorted((row for row in gone.table if row[0] in chosen), key=lambda row: chosen.index(row[0])) == [
        ["column", "role", "seen", "expected", ""],
        ["record_id", "key", "string", "text", "ok"],
        ["weight_pounds", "label", "string", "numbers", "ok"],
        ["mother_age", "feature", "no column", "numbers", "missing"],
        ["gestation_weeks", "feature", "string", "numbers", "ok"],
        ["plurality", "feature", "no column", "text", "missing"],
        ["is_male", "feature", "string", "text", "ok"],
    ]
    assert "  mother_age          feature  no column  numbers   missing" in gone.text


def test_a_column_that_stands_there_twice(tmp_path: Path) -> None:
    lines = [HEADER + ",mother_age", *(row + ",1" for row in ROWS)]
    error = refusal(tmp_path / "a.csv", "\n".join(lines))
    assert error.what == 'there are 2 columns named "mother_age"'
    # A column that nobody reads may be there as often as it likes.
    (tmp_path / "a.csv").write_text("\n".join([HEADER + ",,", *(row + ",1,2" for row in ROWS)]))
    assert check_data(PROBLEM, str(tmp_path / "a.csv"))


def test_text_where_numbers_belong(tmp_path: Path) -> None:
    swapped = HEADER.replace("mother_age", "x").replace("plurality", "mother_age").replace("x", "plurality")
    error = refusal(tmp_path / "a.csv", "\n".join([swapped, *ROWS]))
    assert error.what == 'the column "mother_age" is of the wrong type'
    assert (error.expected, error.received) == ("numbers", '"single", "twins", "triplets"')


@pytest.mark.parametrize(
    ("name", "values", "expected", "received"),
    [
        ("mother_age", [datetime.date(2020, 1, 1)], "numbers", "the type date32[day]"),
        ("mother_age", [[1]], "numbers", "the type list<element: int64>"),
        ("mother_age", ["old"], "numbers", '"old"'),
        ("plurality", [{"n": 1}], "one value a row", "the type struct<n: int64>"),
        ("record_id", [[1]], "one value a row", "the type list<element: int64>"),
    ],
)
def test_types_of_parquet(tmp_path: Path, name: str, values: list[Any], expected: str, received: str) -> None:
    table = pacsv.read_csv(EXAMPLE / "births.csv")
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, name, pa.array(values * len(table))), tmp_path / "a.parquet")
    error = refusal(tmp_path / "a.parquet")
    assert (error.what, error.expected, error.received) == (
        f'the column "{name}" is of the wrong type',
        expected,
        received,
    )


def test_a_vocabulary_that_no_value_is_in(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.csv", TEXT.replace("true", "T").replace("false", "F"))
    assert error.what == 'no value of the column "is_male" is in its vocabulary'
    assert (error.expected, error.received) == ("false, true", '"T", "F"')


def test_one_file_of_several_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text(f"{HEADER}\n")
    assert len(check_data(PROBLEM, str(tmp_path))) == 2
    (tmp_path / "c.csv").write_text("record_id\n1\n")
    assert refusal(tmp_path).where == f"{tmp_path}/c.csv"
