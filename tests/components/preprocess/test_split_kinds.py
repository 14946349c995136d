"""Splits by group, time and file: a row's split depends on its values alone, and empty splits are refused."""

from __future__ import annotations

import dataclasses
import datetime
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.components.preprocess.append.spans import add_span, append
from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.components.preprocess.time_boundaries import measured_splits
from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Manifest
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, ProblemError, UsageError
from headrace.core.problem import Numeric, Problem, Splits
from headrace.core.problem.file import ProblemFile
from headrace.core.rows.split_rule import by_group, by_time
from headrace.core.sources.open import list_parts
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records
from headrace.expressions import col, timestamp

START = datetime.datetime(2026, 1, 1)


def problem(splits: Splits, **options: Any) -> Problem:
    return Problem("t", "id", Numeric("y"), [Numeric("x", buckets=4)], splits=splits, quarantine_budget=0.3, **options)


def config(data: str, output: Path, **options: Any) -> PreprocessConfig:
    return PreprocessConfig(data, str(output), "0123456789abcdef", storage.fingerprint([]), **options)


def run(splits: Splits | Problem, data: str, output: Path, **options: Any) -> PreprocessResult:
    declared = splits if isinstance(splits, Problem) else problem(splits)
    return preprocess(ProblemFile(declared, "problem.py", "", "", None), config(data, output, **options))


def keys(examples: Path) -> dict[str, str]:
    """The split of each key."""
    manifest = Manifest.read(str(examples))
    found = {}
    for split in SPLITS:
        for shard in manifest.splits[split].shards:
            for records in read_records(examples / shard.file, compressed=False):
                found |= {key.decode(): split for key in decode(records, ["id"]).column(0).to_pylist()}
    assert len(found) == manifest.rows_out
    return found


def statistics(examples: Path) -> dict[str, Any]:
    found: dict[str, Any] = storage.read_json(str(examples / "statistics.json"))["columns"]
    return found


def table(rows: int, **columns: Any) -> pa.Table:
    made = {"id": [f"k{n}" for n in range(rows)], "x": list(range(rows)), "y": [n % 7 for n in range(rows)]}
    return pa.table({**made, **columns})


def write(folder: Path, name: str, rows: pa.Table) -> str:
    folder.mkdir(exist_ok=True)
    if name.endswith("csv"):
        pa.csv.write_csv(rows, folder / name)
    else:
        pq.write_table(rows, folder / name, row_group_size=17)
    return str(folder / name)


def written(folder: Path, rows: pa.Table) -> dict[str, dict[str, Any]]:
    """The same rows in other orders, files and formats, and options that cut them otherwise."""
    mixed = rows.take(pa.array(np.random.default_rng(5).permutation(len(rows))))
    write(folder / "parts", "a.csv", mixed.slice(0, 41))
    write(folder / "parts", "b.parquet", mixed.slice(41))
    return {
        write(folder, "rows.csv", rows): {},
        write(folder, "rows.parquet", rows): {"batch_rows": 23, "shard_rows": 31},
        str(folder / "parts"): {"batch_rows": 7, "shard_rows": 1000},
    }


def test_all_rows_of_a_group_are_in_one_split_whatever_the_format_and_the_cut(tmp_path: Path) -> None:
    patient = [n * n % 53 for n in range(300)]
    answers = []
    for number, (data, options) in enumerate(written(tmp_path, table(300, patient=patient)).items()):
        run(Splits(0.6, 0.2, 0.2, by="patient"), data, tmp_path / f"out{number}", **options)
        answers.append(keys(tmp_path / f"out{number}"))
    assert answers[0] == answers[1] == answers[2]
    by_patient = {(patient[int(key[1:])], split) for key, split in answers[0].items()}
    assert len(by_patient) == len(set(patient))
    assert {split for _, split in by_patient} == set(SPLITS)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, -3, 1000], pa.int64()),
        pa.array([7, -3, 1000], pa.float32()),
        pa.array(["7.0", "-3.00", "1e3"]),
        pa.array(["+7", "-3.0", "1000.0"]),
        pa.array(["7", "-3", "1000"]).dictionary_encode(),
        pa.array([b"7", b"-3", b"1000"]),
    ],
)
def test_a_group_is_its_value(column: pa.Array) -> None:
    codes, missing = by_group(Splits(by="g"), column)
    assert codes.tolist() == by_group(Splits(by="g"), pa.array(["7", "-3", "1000"]))[0].tolist()
    assert not missing.any()


def test_text_of_a_group_stays_as_it_is_written() -> None:
    many = [str(number) for number in range(100)]
    padded = [f"00{text}" for text in many]
    splits = Splits(0.5, 0.25, 0.25, by="g")
    assert by_group(splits, pa.array(many))[0].tolist() != by_group(splits, pa.array(padded))[0].tolist()


def test_a_row_without_a_group_or_a_time_is_quarantined_with_what_it_held(tmp_path: Path) -> None:
    rows = table(60, when=[str(START.date() + datetime.timedelta(n)) for n in range(58)] + ["soon", ""])
    data = write(tmp_path, "rows.csv", rows)
    run(Splits(time="when"), data, tmp_path / "time")
    found = [(row.fault.column, row.fault.reason) for row in read_rows(quarantine_files(str(tmp_path / "time"))[0])]
    assert found == [("when", "not_a_time"), ("when", "missing_value")]
    groups = write(tmp_path, "groups.csv", table(60, who=[None, *(str(n) for n in range(59))]))
    run(Splits(0.4, 0.3, 0.3, by="who"), groups, tmp_path / "group")
    (row,) = read_rows(quarantine_files(str(tmp_path / "group"))[0])
    assert (row.fault.column, row.fault.reason, row.values["who"]) == ("who", "missing_value", None)


def test_the_newest_rows_are_the_test_split(tmp_path: Path) -> None:
    times = [START + datetime.timedelta(hours=n * 7 % 400) for n in range(400)]
    answers = []
    for number, (data, options) in enumerate(written(tmp_path, table(400, when=times)).items()):
        result = run(Splits(time="when"), data, tmp_path / f"out{number}", **options)
        assert result.splits == {"train": 320, "eval": 40, "test": 40}
        answers.append(keys(tmp_path / f"out{number}"))
    assert answers[0] == answers[1] == answers[2]
    oldest = {split: min(times[int(k[1:])] for k, s in answers[0].items() if s == split) for split in SPLITS}
    newest = {split: max(times[int(k[1:])] for k, s in answers[0].items() if s == split) for split in SPLITS}
    assert newest["train"] < oldest["eval"] <= newest["eval"] < oldest["test"]
    assert oldest["test"] == datetime.datetime(2026, 1, 16)
    boundaries = {"eval_from": str(oldest["eval"]), "test_from": "2026-01-16"}
    assert Manifest.read(str(tmp_path / "out0")).boundaries == boundaries
    # What was measured, given, makes the same splits.
    run(Splits(time="when", **boundaries), str(tmp_path / "rows.csv"), tmp_path / "given")
    assert keys(tmp_path / "given") == answers[0]


moments_of_all_kinds = st.one_of(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.lists(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)), min_size=1, max_size=40),
)


@given(moments_of_all_kinds, st.randoms(), st.sampled_from([Splits(time="when"), Splits(0.5, 0.25, 0.25, time="when")]))
@max_examples(40)
def test_boundaries_are_exact_and_independent_of_order(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], random: Any, splits: Splits
) -> None:
    folder = tmp_path_factory.mktemp("times")
    shuffled = list(values)
    random.shuffle(shuffled)
    kind = pa.float64() if isinstance(values[0], float) else pa.timestamp("us")
    found = []
    for number, each in enumerate((values, shuffled)):
        data = write(folder, f"{number}.parquet", table(len(each), when=pa.array(each, kind)))
        if len(set(values)) < 3:
            with pytest.raises(DataError, match="too few different times"):
                measured_splits(problem(splits), data, list_parts(data), 5)
            return
        found.append(measured_splits(problem(splits), data, list_parts(data), 5))
    assert found[0] == found[1]
    codes, wrong = by_time(found[0], pa.array(values, kind))
    assert not wrong.any()
    by_split = [{value for value, code in zip(values, codes, strict=True) if code == split} for split in range(3)]
    assert all(by_split)
    assert max(by_split[0]) < min(by_split[1])
    assert max(by_split[1]) < min(by_split[2])
    ordered = sorted(values)
    rank = ceil(Fraction(str(splits.train)) * len(values) + Fraction(str(splits.eval)) * len(values))
    expected = ordered[min(rank, len(values) - 1)]
    assert min(by_split[2]) == max(expected, sorted(set(values))[2])


def test_given_boundaries_include_their_own_time_and_read_zones() -> None:
    times = ["2026-05-01 00:00", "2026-04-30T23:59:59.999999", "2026-05-31 23:30-01:00", "2026-06-01T00:29+00:00"]
    splits = Splits(time="when", eval_from="2026-05-01", test_from="2026-06-01 00:30Z")
    assert by_time(splits, pa.array(times))[0].tolist() == [1, 0, 2, 1]
    typed = pa.array([datetime.date(2026, 5, 1), datetime.date(2026, 6, 2), None])
    codes, wrong = by_time(splits, typed)
    assert codes[:2].tolist() == [1, 2]
    assert wrong.tolist() == [False, False, True]
    years = Splits(time="year", eval_from=2024, test_from=2025)
    assert by_time(years, pa.array(["2023", "2024", "2025.0"]))[0].tolist() == [0, 1, 2]


def test_files_of_their_own_and_a_key_that_two_of_them_have(tmp_path: Path) -> None:
    rows = table(90)
    folder = tmp_path / "data"
    write(folder, "train-1.csv", rows.slice(0, 40))
    write(folder, "train-2.parquet", rows.slice(40, 20))
    write(folder, "validation.csv", rows.slice(60, 15))
    # Row k5 is in a train file too.
    write(folder, "test.csv", pa.concat_tables([rows.slice(75), rows.slice(5, 1)]))
    splits = Splits(files={"train": "train*", "eval": "validation.csv", "test": "test.csv"})
    result = run(splits, str(folder), tmp_path / "out")
    # The files are read in the order of their names: test.csv is before train-1.csv.
    assert result.splits == {"train": 59, "eval": 15, "test": 16}
    assert result.reasons == {"duplicate_key": 1}
    assert {keys(tmp_path / "out")[f"k{n}"] for n in range(75, 90)} == {"test"}


def test_a_fraction_of_the_train_files_is_the_eval_split(tmp_path: Path) -> None:
    write(tmp_path / "data", "train.csv", table(200).slice(0, 150))
    write(tmp_path / "data", "test.csv", table(200).slice(150))
    splits = Splits(files={"train": "train.csv", "test": "test.csv"}, eval=0.25)
    result = run(splits, str(tmp_path / "data" / "*.csv"), tmp_path / "out")
    assert result.splits["test"] == 50
    assert abs(result.splits["eval"] / 150 - 0.25) < 0.1
    held = {key for key, split in keys(tmp_path / "out").items() if split == "eval"}
    run(splits, str(tmp_path / "data"), tmp_path / "again", batch_rows=11, shard_rows=20)
    assert {key for key, split in keys(tmp_path / "again").items() if split == "eval"} == held


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train": "train*", "test": "none.csv"}, "the file is in no split"),
        ({"train": "t*.csv", "test": "test.csv"}, "the file is in several splits"),
        ({"train": "*t*.csv", "test": "none.csv"}, "no file is in the test split"),
    ],
)
def test_patterns_cover_each_file_once(tmp_path: Path, files: dict[str, str], said: str) -> None:
    write(tmp_path / "data", "train.csv", table(50))
    write(tmp_path / "data", "test.csv", table(50))
    with pytest.raises(DataError, match=said):
        run(Splits(files=files), str(tmp_path / "data"), tmp_path / "out")


# Neither ISO dates nor numbers.
DAYS = [f"{1 + n % 12}/1/2024" for n in range(50)]


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (Splits(by="one"), "made by the groups of one"),
        (Splits(time="x", eval_from=500, test_from=1000), "made by the time x"),
        (Splits(time="one"), "too few different times"),
        (Splits(time="day"), 'Received: fewer, and "1/1/2024", "2/1/2024", "3/1/2024". Write the times so'),
        (Splits(by="absent"), 'the column "absent", which is the column to split by, does not exist'),
    ],
)
def test_an_empty_split_is_refused(tmp_path: Path, splits: Splits, said: str) -> None:
    with pytest.raises(DataError) as refused:
        run(splits, write(tmp_path, "rows.csv", table(50, one=[1] * 50, day=DAYS)), tmp_path / "out")
    assert said in refused.value.paragraph
    assert not (tmp_path / "out").exists()


def test_rows_are_added_by_group_and_by_given_times_and_refused_by_fractions_in_time(tmp_path: Path) -> None:
    first = write(tmp_path, "a.csv", table(100, g=[n % 20 for n in range(100)]))
    rest = table(160, g=[n % 20 for n in range(160)]).slice(100)
    second = write(tmp_path, "b.csv", rest)
    kinds = [Splits(0.5, 0.25, 0.25, by="g"), Splits(time="x", eval_from=40, test_from=70)]
    for number, splits in enumerate(kinds):
        file = ProblemFile(problem(splits), "problem.py", "", "", None)
        output = tmp_path / f"out{number}"
        run(splits, first, output)
        append(file, dataclasses.replace(config(second, output), data_version="b"))
        run(splits, write(tmp_path, "all.csv", table(160, g=[n % 20 for n in range(160)])), tmp_path / f"whole{number}")
        assert keys(output) == keys(tmp_path / f"whole{number}")
        spans = tmp_path / f"spans{number}"
        for span, data in (("1", first), ("2", second)):
            add_span(file, dataclasses.replace(config(data, spans), data_version=span), span)
        assert keys(spans) == keys(output)
        measured_of = [statistics(folder)["x"]["buckets"] for folder in (output, spans, tmp_path / f"whole{number}")]
        assert measured_of[0] == measured_of[1] == measured_of[2]
        assert len(measured_of[0]) == 3
    measured = ProblemFile(problem(Splits(time="x")), "problem.py", "", "", None)
    run(measured.problem, first, tmp_path / "measured")
    for add in (lambda c: append(measured, c), lambda c: add_span(measured, c, "1")):
        with pytest.raises(UsageError, match="fractions in time"):
            add(config(second, tmp_path / "measured"))


def test_without_a_key_the_group_decides(tmp_path: Path) -> None:
    data = write(tmp_path, "rows.csv", table(80, g=[n % 10 for n in range(80)]))
    keyless = dataclasses.replace(problem(Splits(0.5, 0.25, 0.25, by="g")), key=None)
    result = run(keyless, data, tmp_path / "out")
    assert sum(result.splits.values()) == 80
    assert all(rows % 8 == 0 for rows in result.splits.values())


def test_another_kind_of_split_is_another_schema() -> None:
    kinds = [
        Splits(),
        Splits(by="g"),
        Splits(by="h"),
        Splits(time="g"),
        Splits(time="g", eval_from=1, test_from=2),
        Splits(files={"train": "a", "test": "b"}),
    ]
    assert len({problem(splits).schema_digest for splits in kinds}) == len(kinds)
    assert Splits().to_json() == {"train": 0.8, "eval": 0.1, "test": 0.1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "g", "time": "t"}, "several kinds"),
        ({"by": ""}, "by is wrong"),
        ({"time": "t", "eval_from": "2026-01-01"}, "incomplete"),
        ({"eval_from": 1, "test_from": 2}, "incomplete"),
        ({"time": "t", "eval_from": "2026-02-30", "test_from": "2026-03-01"}, "eval_from is not a time"),
        ({"time": "t", "eval_from": "2026-03-01", "test_from": "2026-03-01"}, "must be before"),
        ({"time": "t", "eval_from": 2, "test_from": "2026-03-01"}, "a number and a time"),
        ({"files": {"train": "a"}}, "files is wrong"),
        ({"files": {"train": "a", "test": "b", "dev": "c"}}, "files is wrong"),
        ({"train": 0.9}, "do not sum to 1"),
    ],
)
def test_refused_declarations(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        Splits(**arguments)


@pytest.mark.parametrize("derive", [{}, {"y": col("x") * 0.5}])
def test_the_label_does_not_decide(derive: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match="cannot be defined by this column"):
        problem(Splits(by="y"), derive=derive)


def test_a_derived_column_decides_as_the_column_of_the_table_would(tmp_path: Path) -> None:
    """Groups that are a part of a text, and times that are seconds since 1970: neither is a feature."""
    count = 120
    users = [f"u{n % 17:02d}-{n}" for n in range(count)]
    seconds = [1_767_225_600 + 3600 * ((37 * n) % count) for n in range(count)]
    moments = [datetime.datetime.fromtimestamp(second, datetime.UTC) for second in seconds]
    whole = table(count, session=users, at=seconds, g=[user[:3] for user in users], when=moments)
    data = write(tmp_path, "rows.parquet", whole)
    same = [
        (Splits(0.5, 0.25, 0.25, by="g"), Splits(0.5, 0.25, 0.25, by="user"), {"user": col("session").cut(0, 3)}),
        (Splits(time="when"), Splits(time="moment"), {"moment": timestamp("at", unit="s")}),
        (
            Splits(time="when", eval_from="2026-01-03", test_from="2026-01-04"),
            Splits(time="moment", eval_from="2026-01-03", test_from="2026-01-04"),
            {"moment": timestamp("at", unit="s")},
        ),
        (Splits(time="at"), Splits(time="hours"), {"hours": col("at") / 3600}),
    ]
    for place, (plain, derived, expressions) in enumerate(same):
        by_column, by_expression = tmp_path / f"plain{place}", tmp_path / f"derived{place}"
        run(plain, data, by_column)
        result = run(problem(derived, derive=expressions), data, by_expression)
        assert result.rows_out == count
        assert keys(by_expression) == keys(by_column)
    # A row without a value of it goes to quarantine, with the columns of the table.
    by_moment = problem(Splits(time="moment"), derive={"moment": timestamp("at", unit="s")})
    missing = [None if n == 5 else second for n, second in enumerate(seconds)]
    result = run(by_moment, write(tmp_path, "broken.parquet", table(count, at=missing)), tmp_path / "broken")
    assert result.reasons == {"missing_value": 1}
    (row,) = read_rows(quarantine_files(str(tmp_path / "broken"))[0])
    assert (row.fault.message, row.values["at"]) == ("moment is missing, and decides the split", None)
    # Rows are added by a derived group, and by derived times with boundaries.
    appended = tmp_path / "appended"
    first, rest = write(tmp_path, "a.parquet", whole.slice(0, 80)), write(tmp_path, "b.parquet", whole.slice(80))
    declared = problem(same[0][1], derive=same[0][2])
    run(declared, first, appended)
    file = ProblemFile(declared, "problem.py", "", "", None)
    append(file, dataclasses.replace(config(rest, appended), data_version="b"))
    assert keys(appended) == keys(tmp_path / "derived0")
    with pytest.raises(DataError, match='the column "at" does not exist'):
        run(by_moment, write(tmp_path, "c.parquet", table(count)), tmp_path / "none")
