"""A table of published predictions holds exactly them; rows that others replaced, or with one key, are refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.by_hand import TAKES, VERSION, ByHand

from headrace.components.score.batch.run import score
from headrace.components.score.checking import check
from headrace.components.score.config import ScoreConfig
from headrace.components.score.publishing import publish, rollback
from headrace.components.score.sinks.table_sink import FILE
from headrace.components.score.tabulate import tabulate
from headrace.core.artifacts.predictions import AnswerForm, PredictionsManifest
from headrace.core.artifacts.published import current, time_of
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.prediction_table.layout import TableColumn, TableDescription
from headrace.core.prediction_table.reader import PredictionTable

IDENTITY = "0123456789abcdef"
KEYS = [f"id-{i:02d}" for i in range(100)]


def made(folder: Path, name: str = "out", identity: str = IDENTITY, keys: Any = KEYS, **options: Any) -> str:
    """Predictions for 100 rows, of which one lacks its weight."""
    folder.mkdir(exist_ok=True)
    weight = pa.array([float(i) for i in range(100)], mask=[i == 7 for i in range(100)])
    table = pa.table({"id": keys, "weight": weight, "color": ["red"] * 100})
    pq.write_table(table, folder / "rows.parquet")
    score(ScoreConfig("m", str(folder / "rows.parquet"), str(folder / name), identity, **options), source=ByHand())
    return str(folder / name)


def test_a_table_of_parquet_files_equals_the_sink(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    result = tabulate(made(tmp_path), place)
    assert current(place)["sink"] == "table"
    checked = check(result.uri)
    assert (checked.manifest.rows_out, checked.manifest.rows_quarantined) == (99, 1)
    table = PredictionTable(Path(result.uri) / FILE)
    assert table.about == dataclasses.replace(
        TableDescription("id", VERSION, result.identity), source=checked.manifest.data_version
    )
    sink = PredictionTable(Path(made(tmp_path, "sink", sink="table")) / FILE)
    assert (
        table.columns
        == sink.columns
        == (
            TableColumn("class", "text"),
            TableColumn("prediction", "number", "float32"),
            TableColumn("probabilities", "number", "float32", 2),
        )
    )
    kept = [key for key in KEYS if key != "id-07"]
    of_files, of_sink = (each.outputs(each.find(kept)) for each in (table, sink))
    for name, values in of_files.items():
        assert values.tolist() == of_sink[name].tolist()
    assert table.find(["id-07", "id-100"]).tolist() == [-1, -1]


def test_tables_stand_side_by_side_and_are_rolled_back(tmp_path: Path) -> None:
    place, published = str(tmp_path / "place"), str(tmp_path / "published")
    publish(made(tmp_path), published)
    first = tabulate(published, place)
    publish(made(tmp_path, "newer", "f" * 16), published)
    second = tabulate(published, place)
    assert second.previous == first.identity
    opened = PredictionTable(Path(first.uri) / FILE)
    assert rollback(place).identity == first.identity
    assert opened.find(["id-99"]).tolist() == [98]
    # It is not built again.
    before = (Path(second.uri) / FILE).stat().st_mtime_ns
    assert tabulate(published, place).identity == second.identity
    assert (Path(second.uri) / FILE).stat().st_mtime_ns == before
    assert time_of(first.uri) is not None


def test_a_table_that_exists_is_published(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    out = made(tmp_path, sink="table")
    assert tabulate(out, place).identity == IDENTITY
    assert (Path(place) / "versions" / IDENTITY / FILE).read_bytes() == (Path(out) / FILE).read_bytes()


def test_a_damaged_table_is_built_again(tmp_path: Path) -> None:
    place, out = str(tmp_path / "place"), made(tmp_path)
    first = tabulate(out, place)
    file = Path(first.uri) / FILE
    whole = file.read_bytes()
    opened = PredictionTable(file)
    file.unlink()
    file.write_bytes(whole[:-1])
    assert tabulate(out, place) == first
    assert file.read_bytes() == whole
    assert opened.find(["id-99"]).tolist() == [98]


def test_rows_with_one_key_are_refused_with_an_example(tmp_path: Path) -> None:
    out = made(tmp_path, keys=[*KEYS[:97], "id-03", "id-96", "id-03"])
    with pytest.raises(DataError) as caught:
        tabulate(out, str(tmp_path / "place"))
    assert caught.value.what == "3 of 99 rows have a key that an earlier row has"
    assert caught.value.received == 'id is "id-03" in rows 4 and 97, for example'
    assert not (tmp_path / "place" / "current.json").exists()


def test_what_cannot_be_a_table(tmp_path: Path) -> None:
    for sink in ("csv", "jsonl"):
        with pytest.raises(UsageError, match="a prediction table is built from Parquet files or BigQuery"):
            tabulate(made(tmp_path, sink, sink=sink), str(tmp_path / "place"))
    with pytest.raises(UsageError, match="partitioned by one of their outputs"):
        tabulate(made(tmp_path, "parts", partition_by="class"), str(tmp_path / "place"))
    with pytest.raises(UsageError, match="the column is not the key"):
        tabulate(made(tmp_path), str(tmp_path / "place"), key="class")
    with pytest.raises(UsageError, match="holds no Predictions"):
        tabulate(str(tmp_path / "nothing"), str(tmp_path / "place"))
    assert not (tmp_path / "place").exists()


def test_an_older_manifest_needs_the_key(tmp_path: Path) -> None:
    out = Path(made(tmp_path, "out"))
    plain = json.loads((out / "manifest.json").read_text())
    assert plain.pop("answers") == {"key": "id", "returns_key": False, "lists_of_one": []}
    (out / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(UsageError, match="the column that identifies a row is not known"):
        tabulate(str(out), str(tmp_path / "place"))
    result = tabulate(str(out), str(tmp_path / "place"), key="id")
    assert PredictionsManifest.read(result.uri).answers == AnswerForm("id")


def test_damaged_and_replaced_files_are_refused(tmp_path: Path) -> None:
    out = Path(made(tmp_path))
    (file,) = (out / "predictions").iterdir()
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="the file is not the one that the manifest lists"):
        tabulate(str(out), str(tmp_path / "place"))


def test_partitions_by_another_column(tmp_path: Path) -> None:
    result = tabulate(made(tmp_path, partition_by="color"), str(tmp_path / "place"))
    assert len(PredictionTable(Path(result.uri) / FILE)) == 99


def test_the_form_of_answers_is_that_of_the_model(tmp_path: Path) -> None:
    listed = tuple(dataclasses.replace(o, listed=o.name == "prediction") for o in TAKES.outputs)
    takes = dataclasses.replace(TAKES, outputs=listed, key_input="key")
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["a"], "weight": [1.5], "color": ["red"]}), rows)
    score(ScoreConfig("m", str(rows), str(tmp_path / "out"), IDENTITY), source=ByHand(takes=takes))
    table = PredictionTable(Path(tabulate(str(tmp_path / "out"), str(tmp_path / "place")).uri) / FILE)
    assert table.about.returns_key
    prediction = table.outputs(table.find(["a"]))["prediction"]
    assert prediction.tolist() == [[float(np.float32(3) + np.float32(0.1))]]


def test_killed_while_building_leaves_no_table(tmp_path: Path) -> None:
    out, place = made(tmp_path), tmp_path / "place"
    script = (
        "import sys, time\n"
        "from headrace.core.prediction_table import writer\n"
        "from headrace.components.score.tabulate import tabulate\n"
        "real = writer.Footer\n"
        "def slow(*arguments):\n"
        "    print('written but for its footer', flush=True)\n"
        "    time.sleep(600)\n"
        "writer.Footer = slow\n"
        "tabulate(sys.argv[1], sys.argv[2])\n"
    )
    arguments = [sys.executable, "-c", script, out, str(place)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=os.environ.copy()) as building:
        assert building.stdout is not None
        assert building.stdout.readline().startswith(b"written")
        building.kill()
    assert building.returncode == -signal.SIGKILL
    assert current(str(place)) == {}
    assert not list(place.glob("versions/[!.]*"))
    result = tabulate(out, str(place))
    assert len(PredictionTable(Path(result.uri) / FILE)) == 99


def test_a_builder_ends_with_its_caller_and_leaves_nothing(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = """
import sys, time
from headrace.components.score import tabulate
def endless(predictions, output):
    open(output, "w").close()
    print("begun", flush=True)
    time.sleep(3600)
tabulate.tabulate = endless
tabulate.main("predictions", sys.argv[1])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout is not None
        assert builder.stdin is not None
        assert builder.stdout.readline() == "begun\n"
        assert (scratch / "table").exists()
        builder.stdin.close()
        assert builder.wait(600) == PlatformError.exit_status
    assert not scratch.exists()
