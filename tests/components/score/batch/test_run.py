"""Rows to a Predictions artifact without Beam, around a scorer that computes by hand."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from support.by_hand import VERSION, ByHand, predicted
from support.users_files import check_users_files_stay

from headrace.components.score.batch.run import score
from headrace.components.score.checking import check
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.sinks.table_sink import FILE
from headrace.core import storage
from headrace.core.artifacts.kinds import PREDICTIONS, QUARANTINE
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, PlatformError, UnreadableFile, UsageError
from headrace.core.prediction_table.reader import PredictionTable
from headrace.core.scoring.answered import ScoredBatch
from headrace.core.sources.open import list_parts, read_part
from headrace.core.sources.source import Rows
from headrace.core.storage.remote import folders

IDENTITY = "0123456789abcdef"
ROWS = 1000


def table(rows: int = ROWS, first: int = 0) -> pa.Table:
    """Rows of which every hundredth, from the 50th, lacks its weight."""
    at = np.arange(first, first + rows)
    weight = pa.array(at % 97 + 0.25, mask=at % 100 == 49)
    color = pa.array([["red", "green", None][i % 3] for i in at])
    return pa.table({"id": [f"id-{i:05d}" for i in at], "weight": weight, "color": color, "other": at})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of 1000 rows each, one of them of four row groups."""
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(table(), folder / "a.parquet", row_group_size=250)
    pq.write_table(table(first=ROWS), folder / "b.parquet")
    return folder


def run(folder: Path, data: Path | str, name: str = "out", source: Any = None, **options: Any) -> ScoreResult:
    config = ScoreConfig(str(folder / "model"), str(data), str(folder / name), IDENTITY, **options)
    return score(config, source=source or ByHand())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_all(folder: Path) -> pa.Table:
    manifest = PredictionsManifest.read(str(folder))
    return pa.concat_tables([pq.read_table(folder / file.file, partitioning=None) for file in manifest.files])


def test_every_row_is_scored_or_quarantined(tmp_path: Path, data: Path) -> None:
    result = run(tmp_path, data)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (2000, 1980, 20)
    assert result.reasons == {"missing_value": 20}
    assert (result.model_version, result.files, result.destination) == (VERSION, 2, None)
    made = read_all(tmp_path / "out")
    source = pa.concat_tables([table(), table(first=ROWS)])
    good = source.filter(source["weight"].is_valid())
    assert made["id"].to_pylist() == good["id"].to_pylist()
    assert made["prediction"].to_numpy().tolist() == predicted(good["weight"].to_numpy()).tolist()
    assert set(made["model_version"].to_pylist()) == {VERSION}
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    (kept,) = manifest.quarantine.files
    rows = list(read_rows(str(tmp_path / "out" / kept)))
    assert [(row.file, row.row) for row in rows] == [
        (f, r) for f in ("a.parquet", "b.parquet") for r in range(50, 1001, 100)
    ]
    assert [file.rows for file in manifest.files] == [990, 990]
    assert [(source.file, source.rows) for source in manifest.source] == [("a.parquet", 1000), ("b.parquet", 1000)]


@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({"sink": "parquet"}, "predictions"),
        ({"sink": "csv"}, "predictions"),
        ({"sink": "jsonl"}, "predictions"),
        ({"sink": "table"}, "table"),
        ({"partition_by": "color"}, "predictions/color=red"),
    ],
)
def test_a_file_of_the_users_in_any_folder_of_predictions_keeps_them(
    tmp_path: Path, data: Path, options: dict[str, Any], within: str
) -> None:
    run(tmp_path, data, **options)
    check_users_files_stay(tmp_path / "out", PREDICTIONS, within, "quarantine")


def test_the_manifest_tells_what_was_done(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data)
    plain = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [plain[name] for name in ("format", "identity", "problem", "model_version", "approach", "signature")] == [
        1, IDENTITY, None, VERSION, "direct", "serving_default",
    ]  # fmt: skip
    assert [(column["name"], column["type"]) for column in plain["columns"][:3]] == [
        ("id", "string"),
        ("prediction", "float"),
        ("class", "string"),
    ]
    told = plain["distribution"]["predictions"]
    assert told["class"]["vocabulary"] == [["light", 1045], ["heavy", 935]]
    assert (told["prediction"]["count"], told["prediction"]["minimum"]) == (1980, 0.6000000238418579)
    assert plain["distribution"]["training"] is None
    assert "files_quarantined" not in plain


def test_the_bytes_do_not_depend_on_how_it_is_run(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data)
    run(tmp_path, data, "small", batch_rows=7, scoring_threads=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "small")


@pytest.mark.parametrize("sink", ["parquet", "csv", "jsonl", "table"])
def test_run_again_gives_the_same_files(tmp_path: Path, data: Path, sink: Any) -> None:
    run(tmp_path, data, sink=sink)
    before = contents(tmp_path / "out")
    run(tmp_path, data, sink=sink, batch_rows=100)
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_a_lookup_table(tmp_path: Path, data: Path) -> None:
    # The second file has the first ten keys of the first one again.
    pq.write_table(pa.concat_tables([table(first=ROWS), table(10)]), data / "b.parquet")
    result = run(tmp_path, data, sink="table")
    assert (result.rows_in, result.rows_out, result.reasons) == (2010, 1980, {"duplicate_key": 10, "missing_value": 20})
    lookup = PredictionTable(tmp_path / "out" / FILE)
    assert lookup.about.model_version == VERSION
    found = lookup.find(["id-01234", "id-00049"])
    assert found[1] == -1
    assert lookup.outputs(found[:1])["prediction"] == predicted(np.array([1234 % 97 + 0.25]))
    rows = list(read_rows(str(tmp_path / "out" / "quarantine/part-00000-of-00001.jsonl")))
    assert next((row.row, row.fault.message) for row in rows if row.fault.reason == "duplicate_key") == (
        1001,
        'id is "id-00000", which row 1 of a.parquet has already',
    )
    assert [(row.file, row.row) for row in rows] == sorted((row.file, row.row) for row in rows)


def colors_in(predictions: Path) -> dict[str, str | None]:
    """By key, the column of the folders of predictions, read as any data is."""
    batches = (rows.batch for part in list_parts(str(predictions)) for rows in read_part(part, ["id", "color"], ROWS))
    return {row["id"]: row["color"] for batch in batches for row in batch.to_pylist()}


def test_partitions_by_a_column_of_the_rows(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data, partition_by="color")
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert [file.file for file in manifest.files] == [
        f"predictions/color={color}/part-0000{number}-of-00002.parquet"
        for color in ("__HIVE_DEFAULT_PARTITION__", "green", "red")
        for number in (0, 1)
    ]
    source = pa.concat_tables([table(), table(first=ROWS)])
    color = dict(zip(source["id"].to_pylist(), source["color"].to_pylist(), strict=True))
    red = pq.read_table(tmp_path / "out" / "predictions" / "color=red", partitioning=None)
    assert {color[key] for key in red["id"].to_pylist()} == {"red"}
    assert sum(file.rows for file in manifest.files) == manifest.rows_out == 1980
    again = colors_in(tmp_path / "out" / "predictions")
    assert len(again) == 1980
    assert again == {key: color[key] for key in again}


def test_partitions_of_any_text_are_read_as_they_were(tmp_path: Path, data: Path) -> None:
    names = ["50% off", "a/b", "c=d", "Zürich ", ".", "007", "x" * 100, "?*[a]"]
    colors = [names[n % len(names)] for n in range(ROWS)]
    (data / "a.parquet").unlink()
    (data / "b.parquet").unlink()
    colored = table()
    place = colored.schema.names.index("color")
    pq.write_table(colored.set_column(place, "color", pa.array(colors)), data / "a.parquet")
    run(tmp_path, data, partition_by="color")
    written = dict(zip(colored["id"].to_pylist(), colors, strict=True))
    again = colors_in(tmp_path / "out" / "predictions")
    assert again == {key: written[key] for key in again}
    assert set(again.values()) == set(names)


def test_partitions_by_an_output(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data, partition_by="class")
    files = [file.file for file in PredictionsManifest.read(str(tmp_path / "out")).files]
    assert {file.split("/")[1] for file in files} == {"class=heavy", "class=light"}


def test_every_text_format_gives_the_same_predictions(tmp_path: Path) -> None:
    rows = table(100)
    pacsv.write_csv(rows, tmp_path / "rows.csv")
    pq.write_table(rows, tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    made = {}
    for ending in ("csv", "parquet", "jsonl"):
        assert run(tmp_path, tmp_path / f"rows.{ending}", ending).rows_quarantined == 1
        made[ending] = read_all(tmp_path / ending)
    assert made["csv"] == made["parquet"] == made["jsonl"]


def test_a_row_that_cannot_be_read_is_quarantined_where_it_stood(tmp_path: Path) -> None:
    lines = ["id,weight,color", *(f"{i},{i}.5,red" for i in range(1, 101))]
    lines[50] = "50,50.5"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    result = run(tmp_path, tmp_path / "rows.csv", batch_rows=8)
    assert (result.rows_in, result.rows_out, result.reasons) == (100, 99, {"too_few_fields": 1})
    (row,) = read_rows(str(tmp_path / "out" / "quarantine/part-00000-of-00001.jsonl"))
    assert row.row == 50


def test_a_damaged_file_is_quarantined_whole(tmp_path: Path, data: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in range(20):
        pq.write_table(table(100, 100 * number), whole / f"{number:02d}.parquet", row_group_size=50)
    content = bytearray((whole / "07.parquet").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    (whole / "07.parquet").write_bytes(content)
    (whole / "zz.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "weight": 1}\n' * 100)[:-20])
    with pytest.raises(DataError, match="2 of 21 files cannot be read"):
        run(tmp_path, whole)
    result = run(tmp_path, whole, quarantine_budget=0.1)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (1900, 1881, 19)
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert [(file.file, file.reason) for file in manifest.files_quarantined] == [
        ("07.parquet", "file_unreadable"),
        ("zz.jsonl.gz", "file_unreadable"),
    ]
    assert "id-00700" not in read_all(tmp_path / "out")["id"].to_pylist()
    with pytest.raises(UnreadableFile):
        run(tmp_path, whole / "07.parquet")


@pytest.mark.parametrize("budget", [0.05, 0.0])
def test_one_damaged_file_of_three(tmp_path: Path, budget: float) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    for number in range(3):
        pq.write_table(table(100, 100 * number), rows / f"{number}.parquet")
    (rows / "1.parquet").write_bytes((rows / "1.parquet").read_bytes()[:-20])
    if not budget:
        with pytest.raises(DataError, match="1 of 3 files cannot be read"):
            run(tmp_path, rows, quarantine_budget=budget)
        return
    assert run(tmp_path, rows, quarantine_budget=budget).rows_in == 200
    # Where nothing else is there, its error is the answer.
    pq.write_table(table(0), rows / "0.parquet")
    pq.write_table(table(0), rows / "2.parquet")
    with pytest.raises(UnreadableFile):
        run(tmp_path, rows, quarantine_budget=budget)


def test_the_budget(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="the quarantine budget is spent") as caught:
        run(tmp_path, data, quarantine_budget=0.009)
    assert caught.value.expected == "a prediction for all but 0.9 % of the rows (18 of 2,000)"
    assert caught.value.received is not None
    assert caught.value.received.startswith("20 without one; first a.parquet, row 50: weight is missing;")
    assert not (tmp_path / "out").exists()
    (file,) = quarantine_files(str(tmp_path / "out.quarantine"))
    rows = list(read_rows(file))
    assert (len(rows), rows[0].file, rows[0].row) == (20, "a.parquet", 50)
    check_users_files_stay(tmp_path / "out.quarantine", QUARANTINE, "quarantine")
    assert run(tmp_path, data, quarantine_budget=0.01).rows_quarantined == 20
    assert not (tmp_path / "out.quarantine").exists()


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
def test_an_empty_day_gives_empty_predictions(tmp_path: Path, name: str) -> None:
    if name == "rows.parquet":
        pq.write_table(table(10).slice(0, 0), tmp_path / name)
    else:
        (tmp_path / name).write_text("")
    result = run(tmp_path, tmp_path / name)
    assert (result.rows_in, result.rows_out, result.rows_quarantined, result.files) == (0, 0, 0, 0)
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert (manifest.rows_in, manifest.files) == (0, ())
    assert check(str(tmp_path / "out")).bytes == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop_columns(["weight"]), "a column is missing from the rows"),
        (lambda rows: rows.append_column("id", rows["id"]), 'there are several columns named "id"'),
    ],
)
def test_data_that_cannot_be_scored(tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str) -> None:
    pq.write_table(change(table(10)), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=said):
        run(tmp_path, tmp_path / "rows.parquet")


def test_what_is_not_there(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="no file, folder or match of the pattern exists"):
        run(tmp_path, tmp_path / "gone")
    with pytest.raises(DataError, match="the column to partition by does not exist"):
        run(tmp_path, data, partition_by="size")


def test_a_key_of_two_types_is_refused(tmp_path: Path, data: Path) -> None:
    pq.write_table(table().set_column(0, "id", pa.array(range(ROWS))), data / "b.parquet")
    with pytest.raises(DataError, match="files hold the same column as different types") as caught:
        run(tmp_path, data)
    assert caught.value.received == "id string and int64"


class _Loses(ByHand):
    def load(self) -> _Loses:
        return self

    def score(self, rows: Rows) -> ScoredBatch:
        scored = super().score(rows)
        return ScoredBatch(scored.predictions.slice(1), scored.numbers[1:], scored.quarantined)


class _Fails(ByHand):
    def load(self) -> _Fails:
        return self

    def score(self, rows: Rows) -> ScoredBatch:
        if rows.numbers[0] > 500:
            raise PlatformError("the model failed")
        return super().score(rows)


@pytest.mark.parametrize(("source", "said"), [(_Loses(), "rows were lost"), (_Fails(), "the model failed")])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_scorer_that_fails_ends_the_run_and_leaves_nothing(
    tmp_path: Path, data: Path, source: Any, said: str, threads: int
) -> None:
    with pytest.raises(PlatformError, match=said) as caught:
        run(tmp_path, data, source=source, batch_rows=100, scoring_threads=threads)
    assert caught.value.where == str(data / "a.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_progress_is_told(tmp_path: Path, data: Path) -> None:
    heard: list[tuple[str, int | None]] = []

    def listen(message: str, *, done: int | None = None, total: int | None = None) -> None:
        heard.append((message, done))

    config = ScoreConfig(str(tmp_path), str(data), str(tmp_path / "out"), IDENTITY, batch_rows=400)
    score(config, listen, source=ByHand())
    assert [done for message, done in heard if "rows read" in message and done] == [400, 800, 1000, 1400, 1800, 2000]
    assert heard[0] == ("checked 2 files", None)
    assert heard[-1] == ("wrote 1,980 predictions", 2000)
    assert "2,000 rows read, 6 batches, 1,980 predictions, " in heard[-2][0]


@pytest.mark.parametrize(
    ("sink", "partition_by"), [("parquet", "color"), ("csv", ""), ("jsonl", "color"), ("table", "")]
)
def test_killed_in_the_middle_and_run_again(tmp_path: Path, data: Path, sink: Any, partition_by: str) -> None:
    run(tmp_path, data, "expected", sink=sink, partition_by=partition_by)
    script = (
        "import itertools, sys, threading\n"
        "from support.by_hand import ByHand\n"
        "from headrace.components.score.config import ScoreConfig\n"
        "from headrace.components.score.batch.run import score\n"
        "batches = itertools.count(1)\n"
        "class Stopping(ByHand):\n"
        "    def score(self, rows):\n"
        "        if next(batches) > 30:\n"
        "            threading.Event().wait()\n"
        "        return super().score(rows)\n"
        "data, output, sink, partition_by = sys.argv[1:]\n"
        f"config = ScoreConfig('m', data, output, {IDENTITY!r}, sink, partition_by=partition_by, batch_rows=50)\n"
        "score(config, source=Stopping())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    arguments = [sys.executable, "-c", script, str(data), str(tmp_path / "out"), sink, partition_by]
    with subprocess.Popen(arguments, env=environment) as running:
        # A file of the first part is whole, and half of the second part, which never ends by itself, is scored.
        while not whole_files(tmp_path) and running.poll() is None:
            time.sleep(0.02)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".out.")]) == 1
    run(tmp_path, data, sink=sink, partition_by=partition_by)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "expected", "out"]


def whole_files(folder: Path) -> list[Path]:
    """The files of predictions that wait in a run that goes on; one that is being written has a name with a dot."""
    waiting = (path for work in folder.glob(".out.*/.work/predictions") for path in work.rglob("*") if path.is_file())
    return [path for path in waiting if not any(part.startswith(".") for part in path.parts[-2:])]


def test_from_a_bucket_to_a_bucket(tmp_path: Path, data: Path, store: str) -> None:
    run(tmp_path, data)
    for path in data.iterdir():
        storage.write_bytes(f"{store}/data/{path.name}", path.read_bytes())
    config = ScoreConfig("m", f"{store}/data", f"{store}/made/out", IDENTITY)
    assert score(config, source=ByHand()).rows_out == 1980
    found = {o.uri.removeprefix(f"{store}/made/out/") for o in folders.below(f"{store}/made")}
    expected = contents(tmp_path / "out")
    assert found == set(expected)
    for name in found - {"manifest.json"}:
        assert storage.read_bytes(f"{store}/made/out/{name}") == expected[name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sink": "excel"}, "the sink does not exist"),
        ({"sink": "bigquery"}, "the sink bigquery and its table go together"),
        ({"table": "bigquery://my-project.d.t"}, "the sink bigquery and its table go together"),
        ({"sink": "table", "partition_by": "color"}, "only files can be partitioned"),
        ({"partition_by": "a/b"}, "the column's name cannot be a folder's"),
        ({"batch_rows": -1}, "batch_rows is wrong"),
        ({"quarantine_budget": 1.5}, "quarantine_budget is wrong"),
        ({"identity": ""}, "identity is empty"),
    ],
)
def test_configurations_that_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ScoreConfig(**{"model": "m", "data": "d", "output": "o", "identity": IDENTITY, **options})
