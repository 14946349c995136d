"""The whole of preprocessing on the real births, with exact numbers, and what it leaves behind when it refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.quarantine import QuarantinedRow, read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, UsageError
from headrace.core.problem.file import load_problem

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
TEXT = (EXAMPLE / "births.csv").read_text()
HEADER, *ROWS = TEXT.splitlines()
IDENTITY = "0123456789abcdef"


def run(data: Path | str, output: Path, **options: Any) -> PreprocessResult:
    return preprocess(PROBLEM_FILE, PreprocessConfig(str(data), str(output), IDENTITY, **options))


def run_text(folder: Path, *lines: str, **options: Any) -> PreprocessResult:
    (folder / "births.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return run(folder / "births.csv", folder / "out", **options)


def refused(folder: Path, *lines: str) -> DataError:
    with pytest.raises(DataError) as error:
        run_text(folder, *lines)
    assert {entry.name for entry in folder.iterdir()} <= {"births.csv", "out.quarantine"}
    return error.value


def contents(folder: Path, pattern: str = "**/*") -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def quarantined(folder: Path) -> list[QuarantinedRow]:
    return list(read_rows(str(folder / "quarantine" / "part-00000-of-00001.jsonl")))


def by_number(row: str, number: int) -> str:
    return f"{number}{row[row.index(',') :]}"


@pytest.fixture(scope="module")
def births(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("births") / "examples"
    run(EXAMPLE / "births.csv", folder)
    return folder


def test_the_example_has_exact_numbers(births: Path) -> None:
    manifest = Manifest.read(str(births))
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1450, 1449, 1)
    assert {name: split.rows for name, split in manifest.splits.items()} == {"train": 1164, "eval": 145, "test": 140}
    assert manifest.quarantine.reasons == {"missing_value": 1}
    assert (manifest.identity, manifest.problem) == (IDENTITY, "natality")
    assert manifest.schema_digest == PROBLEM_FILE.problem.schema_digest
    assert manifest.data_version == storage.fingerprint([str(EXAMPLE / "births.csv")])
    assert [(source.file, source.bytes, source.rows) for source in manifest.source] == [("births.csv", 71551, 1450)]
    assert sorted(contents(births)) == [
        "eval/part-00000-of-00001.tfrecord",
        "manifest.json",
        "quarantine/part-00000-of-00001.jsonl",
        "schema.json",
        "sketches/statistics.arrow",
        "statistics.json",
        "test/part-00000-of-00001.tfrecord",
        "train/part-00000-of-00001.tfrecord",
    ]


def test_the_row_in_quarantine_can_be_found_again(births: Path) -> None:
    (row,) = quarantined(births)
    assert (row.file, row.row, row.fault.column, row.fault.reason) == (
        "births.csv",
        1118,
        "gestation_weeks",
        "missing_value",
    )
    assert row.values == {
        name: value or None for name, value in zip(HEADER.split(","), ROWS[1117].split(","), strict=True)
    }


def test_every_row_is_read_by_tensorflow_as_it_was_written(births: Path) -> None:
    files = sorted(str(path) for path in births.glob("*/*.tfrecord"))
    records = [record.numpy() for record in tf.data.TFRecordDataset(files)]
    numbers = ("weight_pounds", "mother_age", "gestation_weeks", "weight_gain_pounds")
    features = {
        name: tf.io.FixedLenFeature([], tf.float32, float("nan"))
        if name in numbers
        else tf.io.FixedLenFeature([], tf.string, b"")
        for name in HEADER.split(",")
    }
    parsed = {name: column.numpy().tolist() for name, column in tf.io.parse_example(records, features).items()}
    got = {
        key.decode(): [parsed[name][place] for name in HEADER.split(",")]
        for place, key in enumerate(parsed["record_id"])
    }
    assert len(got) == len(records) == 1449
    for row in ROWS:
        fields = row.split(",")
        if fields[0] == "1118":
            continue
        for name, text, value in zip(HEADER.split(","), fields, got[fields[0]], strict=True):
            if name in numbers:
                assert (value == float(text)) if text else value != value
            else:
                assert value.decode() == text
    missing = tf.train.Example.FromString(next(record for record in records if b"\n\x03248" in record))
    assert "cigarette_use" not in missing.features.feature


def test_statistics_are_those_of_the_train_split(births: Path) -> None:
    statistics = json.loads((births / "statistics.json").read_text())
    assert statistics["rows"] == 1164
    assert list(statistics["columns"]) == [
        *(feature.name for feature in PROBLEM_FILE.problem.columns),
        "weight_pounds",
    ]
    path = str(births / "train" / "part-00000-of-00001.tfrecord")
    keys = {
        tf.train.Example.FromString(record.numpy()).features.feature["record_id"].bytes_list.value[0].decode()
        for record in tf.data.TFRecordDataset(path)
    }
    train = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in ROWS if row.split(",")[0] in keys]
    weights = [float(row["weight_pounds"]) for row in train]
    mean = sum(weights) / 1164
    measured = statistics["columns"]["weight_pounds"]
    assert (measured["count"], measured["minimum"], measured["maximum"]) == (1164, min(weights), max(weights))
    assert measured["mean"] == pytest.approx(mean, rel=1e-12)
    deviation = (sum((weight - mean) ** 2 for weight in weights) / 1164) ** 0.5
    assert measured["standard_deviation"] == pytest.approx(deviation, rel=1e-12)
    assert statistics["columns"]["weight_gain_pounds"]["missing"] == sum(not r["weight_gain_pounds"] for r in train)
    races = statistics["columns"]["mother_race"]
    assert dict(races["vocabulary"]) == {
        race: sum(row["mother_race"] == race for row in train) for race in ("white", "black", "hispanic", "other")
    }
    assert [count for _, count in races["vocabulary"]] == sorted((c for _, c in races["vocabulary"]), reverse=True)


def test_the_same_input_gives_the_same_bytes(births: Path, tmp_path: Path) -> None:
    run(EXAMPLE / "births.csv", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(births)


def test_parquet_gives_the_examples_that_csv_gives(births: Path, tmp_path: Path) -> None:
    pq.write_table(pacsv.read_csv(EXAMPLE / "births.csv"), tmp_path / "births.parquet", row_group_size=300)
    run(tmp_path / "births.parquet", tmp_path / "out")
    for pattern in ("*/*.tfrecord", "statistics.json", "schema.json"):
        assert contents(tmp_path / "out", pattern) == contents(births, pattern)


def test_the_size_of_batches_changes_nothing(births: Path, tmp_path: Path) -> None:
    run(EXAMPLE / "births.csv", tmp_path / "out", batch_rows=97)
    assert contents(tmp_path / "out") == contents(births)


def test_several_files_and_shards_hold_the_rows_in_their_order(births: Path, tmp_path: Path) -> None:
    for name, lines in zip("abc", (ROWS[:500], ROWS[500:501], ROWS[501:]), strict=True):
        (tmp_path / f"{name}.csv").write_text("\n".join([HEADER, *lines]))
    whole = run(str(tmp_path / "*.csv"), tmp_path / "out")
    assert contents(tmp_path / "out", "*/*.tfrecord") == contents(births, "*/*.tfrecord")
    manifest = Manifest.read(str(tmp_path / "out"))
    assert [(source.file, source.rows) for source in manifest.source] == [("a.csv", 500), ("b.csv", 1), ("c.csv", 949)]
    assert [(row.file, row.row) for row in quarantined(tmp_path / "out")] == [("c.csv", 617)]

    for folder, batch_rows in (("sharded", 64), ("sharded again", 1000)):
        result = run(str(tmp_path / "*.csv"), tmp_path / folder, shard_rows=200, batch_rows=batch_rows)
        assert result == whole
    assert contents(tmp_path / "sharded") == contents(tmp_path / "sharded again")
    train = Manifest.read(str(tmp_path / "sharded")).splits["train"]
    assert len(train.shards) == 6
    shards = [
        [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "sharded" / shard.file))]
        for shard in train.shards
    ]
    assert [len(records) for records in shards] == [shard.rows for shard in train.shards]
    everything = [
        record.numpy() for record in tf.data.TFRecordDataset(str(births / "train" / "part-00000-of-00001.tfrecord"))
    ]
    assert sorted(itertools.chain(*shards)) == sorted(everything)
    places = {record: place for place, record in enumerate(everything)}
    for records in shards:
        assert [places[record] for record in records] == sorted(places[record] for record in records)
    statistics = json.loads((tmp_path / "sharded" / "statistics.json").read_text())
    mean = json.loads((births / "statistics.json").read_text())["columns"]["mother_age"]["mean"]
    assert statistics["columns"]["mother_age"]["mean"] == pytest.approx(mean, rel=1e-12)


def test_more_shards_than_rows_are_all_there(tmp_path: Path) -> None:
    run_text(tmp_path, *ROWS[:40], shard_rows=1)
    manifest = Manifest.read(str(tmp_path / "out"))
    assert len(manifest.splits["train"].shards) >= 32
    assert any(shard.rows == 0 for shard in manifest.splits["train"].shards)
    for split in manifest.splits.values():
        for shard in split.shards:
            assert (tmp_path / "out" / shard.file).stat().st_size == shard.bytes


def test_rows_with_faults_are_in_quarantine_in_their_order(tmp_path: Path) -> None:
    lines = list(ROWS[:200])
    lines[9] = "10,7.5"
    lines[19] += ",more"
    lines[29] = lines[29].replace("true", "maybe").replace("false", "maybe")
    lines[39] = lines[4]
    lines[49] = ROWS[49].replace("50,", ",", 1)
    lines[59] = "60,99.5,true,32,forty,single,white,true,false,38"
    result = run_text(tmp_path, *lines, lines[2], batch_rows=7)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (201, 194, 7)
    assert result.reasons == {
        "duplicate_key": 2,
        "missing_key": 1,
        "out_of_range": 1,
        "too_few_fields": 1,
        "too_many_fields": 1,
        "unknown_value": 1,
    }
    rows = quarantined(tmp_path / "out")
    assert [(row.row, row.fault.reason) for row in rows] == [
        (10, "too_few_fields"),
        (20, "too_many_fields"),
        (30, "unknown_value"),
        (40, "duplicate_key"),
        (50, "missing_key"),
        (60, "out_of_range"),
        (201, "duplicate_key"),
    ]
    assert rows[3].fault.message == 'record_id is "5", which row 5 of births.csv has already'
    assert rows[3].values["weight_pounds"] == ROWS[4].split(",")[1]
    assert [fault.reason for fault in rows[5].also] == ["not_a_number"]


def test_a_key_of_another_file_is_a_duplicate_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *ROWS[:100]]))
    (tmp_path / "b.csv").write_text("\n".join([HEADER, *ROWS[99:200]]))
    assert run(tmp_path, tmp_path / "out").reasons == {"duplicate_key": 1}
    (row,) = quarantined(tmp_path / "out")
    assert (row.file, row.row) == ("b.csv", 1)
    assert row.fault.message == 'record_id is "100", which row 100 of a.csv has already'


def test_no_faults_leave_no_quarantine_file(tmp_path: Path) -> None:
    run_text(tmp_path, *ROWS[:100])
    assert Manifest.read(str(tmp_path / "out")).quarantine.files == ()
    assert not (tmp_path / "out" / "quarantine").exists()


def test_a_spent_budget_publishes_nothing(tmp_path: Path) -> None:
    error = refused(tmp_path, *(row if place % 10 else row[:12] for place, row in enumerate(ROWS)))
    assert (error.what, error.exit_status) == ("the quarantine budget is spent", 2)
    assert error.expected == "at most 5 % of the rows to break a rule (72 of 1,450)"
    assert error.received is not None
    assert error.received.startswith(
        "146 (too_few_fields 145, missing_value 1); "
        "first births.csv, row 1: the row has 3 fields where the header has 10;"
    )
    # Nothing but the quarantine is there, with all of its rows, and the message names the command that lists them.
    place = tmp_path / "out.quarantine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["births.csv", "out.quarantine"]
    assert error.fix is not None
    assert error.fix.endswith(f". All rows: headrace quarantine show {place}")
    (file,) = quarantine_files(str(place))
    rows = list(read_rows(file))
    assert len(rows) == 146
    assert rows[0].row == 1
    assert [row.row for row in rows] == sorted(row.row for row in rows)


def test_a_quarantine_that_was_set_aside_goes_when_the_rows_are_right(tmp_path: Path) -> None:
    refused(tmp_path, *(row if place % 10 else row[:12] for place, row in enumerate(ROWS)))
    (tmp_path / "births.csv").unlink()
    run_text(tmp_path, *ROWS[:100])
    assert not (tmp_path / "out.quarantine").exists()
    # What is not ours stays, and is said before any work.
    (tmp_path / "births.csv").unlink()
    (tmp_path / "out.quarantine").mkdir()
    (tmp_path / "out.quarantine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        run_text(tmp_path, *ROWS[:100])
    assert (tmp_path / "out.quarantine" / "notes.txt").read_text() == "mine"


def test_a_corrected_file_in_a_quarantine_that_was_set_aside_stays(tmp_path: Path) -> None:
    refused(tmp_path, *(row if place % 10 else row[:12] for place, row in enumerate(ROWS)))
    corrected = tmp_path / "out.quarantine" / "quarantine" / "corrected.csv"
    corrected.write_text("work")
    (tmp_path / "births.csv").unlink()
    with pytest.raises(UsageError, match=r"also quarantine/corrected\.csv"):
        run_text(tmp_path, *ROWS[:100])
    assert corrected.read_text() == "work"


def test_the_budget_is_spent_by_one_row_more(tmp_path: Path) -> None:
    lines = [row if place >= 5 else row[:12] for place, row in enumerate(ROWS[:100])]
    assert run_text(tmp_path, *lines).rows_quarantined == 5
    (tmp_path / "births.csv").unlink()
    kept = contents(tmp_path / "out")
    with pytest.raises(DataError, match="the quarantine budget is spent"):
        run_text(tmp_path, *lines[:5], ROWS[5][:12], *lines[6:])
    # What was published before stays as it was.
    assert contents(tmp_path / "out") == kept


def test_a_key_that_is_not_unique_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, *(by_number(row, 7) for row in ROWS))
    assert error.what == 'the key column "record_id" is not unique, and the quarantine budget is spent'
    assert error.received is not None
    assert error.received.startswith(
        "1,449 (duplicate_key 1,448, missing_value 1); first births.csv, row 2: "
        'record_id is "7", which row 1 of births.csv has already;'
    )


def test_a_file_that_turns_out_not_to_be_utf8_publishes_nothing(tmp_path: Path) -> None:
    lines = [by_number(row, place) for place, row in enumerate(ROWS * 25)]
    content = "\n".join([HEADER, *lines, "99999,6,true,20,40,single,wh\xe9te,true,false,1"]).encode("latin-1")
    (tmp_path / "births.csv").write_bytes(content)
    with pytest.raises(DataError, match="the file is not UTF-8") as error:
        run(tmp_path / "births.csv", tmp_path / "out")
    assert error.value.where == f"{tmp_path}/births.csv, line 36252"
    assert [entry.name for entry in tmp_path.iterdir()] == ["births.csv"]


def test_too_few_rows_for_the_splits(tmp_path: Path) -> None:
    error = refused(tmp_path, *ROWS[:3])
    assert error.what == "there are too few rows: none fell into eval and test"
    assert error.received == "train 3, eval 0, test 0"


def test_a_column_without_values_to_learn_from(tmp_path: Path) -> None:
    error = refused(tmp_path, *(row.rpartition(",")[0] + "," for row in ROWS))
    assert error.what == 'the column "weight_gain_pounds" has no value in the train split'


def test_integers_and_booleans_of_parquet_are_text_where_categories_are(births: Path, tmp_path: Path) -> None:
    table = pacsv.read_csv(EXAMPLE / "births.csv")
    pq.write_table(table.set_column(0, "record_id", table["record_id"].cast(pa.float64())), tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", tmp_path / "out")
    assert contents(tmp_path / "out", "*/*.tfrecord") == contents(births, "*/*.tfrecord")


def test_progress_counts_rows(tmp_path: Path) -> None:
    heard: list[tuple[str, int | None, int | None]] = []

    def listen(message: str, *, done: int | None = None, total: int | None = None, **_: object) -> None:
        heard.append((message, done, total))

    config = PreprocessConfig(str(EXAMPLE / "births.csv"), str(tmp_path / "out"), IDENTITY)
    preprocess(PROBLEM_FILE, config, listen)
    assert heard[0] == ("checked 1 file", None, None)
    assert ("1,450 rows read", 1450, None) in heard
    assert heard[-1] == ("wrote 1,449 Examples", 1450, 1450)


def test_nothing_is_printed_and_no_runner_is_fetched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(EXAMPLE / "births.csv", tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the path cannot be written"):
        run(EXAMPLE / "births.csv", tmp_path / "file" / "out")


@pytest.mark.parametrize(
    "options",
    [{"batch_rows": 0}, {"batch_rows": True}, {"batch_rows": 1 << 21}, {"shard_rows": 0}, {"runner": "DirectRunner"}],
)
def test_options_outside_their_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PreprocessConfig("data", "output", IDENTITY, **options)
    with pytest.raises(UsageError, match="the identity is empty"):
        PreprocessConfig("data", "output", "")
