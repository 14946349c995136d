"""The table sink: every key gives its prediction, of equal keys the first is stored, the bytes are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.score.sinks.blocks import PartWriter
from headrace.components.score.sinks.factory import sink_of
from headrace.components.score.sinks.sink import PublishedFiles, Sink
from headrace.components.score.sinks.table_sink import FILE, TableSink
from headrace.core.artifacts.predictions import AnswerForm
from headrace.core.errors import DataError, UsageError
from headrace.core.prediction_table.layout import TableColumn, TableDescription
from headrace.core.prediction_table.reader import PredictionTable

ABOUT = TableDescription("id", "v" * 16, "0123456789abcdef")
FORM = AnswerForm("id")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several staged files per part."""
    monkeypatch.setattr(TableSink, "block_rows", 100)


def sink() -> Sink:
    return sink_of("table", key="id", form=FORM, about=ABOUT)


def found(table: PredictionTable, key: str) -> dict[str, Any] | None:
    """The prediction of a key."""
    rows = table.find([key])
    return None if rows[0] < 0 else {name: column[0] for name, column in table.outputs(rows).items()}


def build(folder: Path, parts: list[list[str]], batch_rows: int = 33) -> PublishedFiles:
    """A table of keys whose prediction is 1000 * part + row, both from 1."""
    made = sink()
    waiting = []
    for part, keys in enumerate(parts):
        numbers = np.arange(1, len(keys) + 1)
        batch = pa.record_batch(
            {
                "id": pa.array(keys),
                "prediction": pa.array(1000 * (part + 1) + numbers, pa.float32()),
                "class": pa.array([f"class of {key}" for key in keys]),
                "model_version": pa.DictionaryArray.from_arrays(np.zeros(len(keys), np.int32), ["v" * 16]),
            }
        )
        with PartWriter(str(folder), made, part) as writer:
            for begin in range(0, len(keys), batch_rows):
                list(writer.write(batch.slice(begin, batch_rows), numbers[begin : begin + batch_rows]))
            list(writer.close())
        waiting += writer.written
    return made.publish(str(folder), waiting)


def test_every_key_gives_its_prediction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = [f"key-{i}" for i in rng.permutation(1000)]
    published = build(tmp_path, [keys[:450], keys[450:]])
    assert (published.rows, published.rejected) == (1000, None)
    assert [(shard.file, shard.rows) for shard in published.files] == [(FILE, 1000)]
    table = PredictionTable(tmp_path / FILE)
    assert len(table) == 1000
    assert table.about == ABOUT
    for place, key in enumerate(keys):
        part, row = (1, place + 1) if place < 450 else (2, place - 449)
        assert found(table, key) == {"prediction": 1000.0 * part + row, "class": f"class of {key}".encode()}
    assert found(table, "key-1000") is found(table, "") is None


def test_of_equal_keys_the_first_has_its_place(tmp_path: Path) -> None:
    # The key "b" fills more than one read of each run, and goes on in the next part.
    parts = [["c", *["b"] * 150, "a"], ["a", *["b"] * 20, "d"]]
    published = build(tmp_path, parts)
    assert published.rows == 4
    table = PredictionTable(tmp_path / FILE)
    predictions = {key: (found(table, key) or {})["prediction"] for key in "abcd"}
    assert predictions == {"a": 1152.0, "b": 1002.0, "c": 1001.0, "d": 2022.0}
    assert published.rejected is not None
    rejected = published.rejected.sort_by([("part", "ascending"), ("row", "ascending")]).to_pylist()
    expected = [(0, row, "b", 0, 2) for row in range(3, 152)]
    expected += [(1, 1, "a", 0, 152), *((1, row, "b", 0, 2) for row in range(2, 22))]
    assert [(r["part"], r["row"], r["key"], r["first_part"], r["first_row"]) for r in rejected] == expected


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    keys = [f"key-{i}" for i in np.random.default_rng(3).permutation(5000)]
    for batch_rows in (33, 100, 1):
        build(tmp_path / str(batch_rows), [keys[:2000], keys[2000:]], batch_rows)
    one, other, third = ((tmp_path / name / FILE).read_bytes() for name in ("33", "100", "1"))
    assert one == other == third


def test_integer_keys_are_found_by_their_digits(tmp_path: Path) -> None:
    made = sink()
    batch = pa.record_batch({"id": pa.array([10, 9, 100]), "prediction": [0.5, 1.5, 2.5]})
    with PartWriter(str(tmp_path), made, 0) as writer:
        list(writer.write(batch, np.arange(3)))
        list(writer.close())
    made.publish(str(tmp_path), writer.written)
    table = PredictionTable(tmp_path / FILE)
    assert [found(table, key) for key in ("9", "10", "100")] == [{"prediction": p} for p in (1.5, 0.5, 2.5)]


@pytest.mark.parametrize(
    ("listed", "array", "column", "expected"),
    [
        ((), pa.array([0.1, 0.2], pa.float32()), TableColumn("y", "number", "float32"), np.array([0.1, 0.2], "f4")),
        (("y",), pa.array([1, 2], pa.int8()), TableColumn("y", "number", "int8", 1), np.array([[1], [2]], "i1")),
        ((), pa.array([True, False]), TableColumn("y", "number", "bool"), np.array([True, False])),
        ((), pa.array(["ä", ""]), TableColumn("y", "text"), ["ä".encode(), b""]),
        ((), pa.array(["a", "a"]).dictionary_encode(), TableColumn("y", "text"), [b"a", b"a"]),
        ((), pa.array([b"\xff", b"\0"]), TableColumn("y", "bytes"), [b"\xff", b"\0"]),
        ((), pa.array([[1.0], []]), TableColumn("y", "number", "float64", 0), [[1.0], []]),
        ((), pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)), TableColumn("y", "text", width=1), [[b"a"], [b"b"]]),
    ],
)
def test_outputs_of_every_type(tmp_path: Path, listed: Any, array: Any, column: TableColumn, expected: Any) -> None:
    form = AnswerForm("id", lists_of_one=listed)
    made = sink_of("table", key="id", form=form, about=ABOUT)
    # A slice of a longer column, as batches are.
    longer = pa.concat_arrays([array.slice(1), array])
    batch = pa.record_batch({"id": ["z", "a", "b"], "y": longer}).slice(1)
    with PartWriter(str(tmp_path), made, 0) as writer:
        list(writer.write(batch, np.arange(2)))
        list(writer.close())
    made.publish(str(tmp_path), writer.written)
    table = PredictionTable(tmp_path / FILE)
    assert table.columns == (column,)
    read = table.outputs(table.find(["a", "b"]))["y"]
    assert [np.asarray(value).tolist() for value in read] == [np.asarray(value).tolist() for value in expected]


def test_a_missing_output_is_refused(tmp_path: Path) -> None:
    made = sink()
    batch = pa.record_batch({"id": ["a", "b"], "prediction": pa.array([1.0, None])})
    with PartWriter(str(tmp_path), made, 0) as writer:
        list(writer.write(batch, np.arange(2)))
        list(writer.close())
    with pytest.raises(DataError, match='the column "prediction" of the predictions lacks values'):
        made.publish(str(tmp_path), writer.written)
    assert not (tmp_path / FILE).exists()


def test_a_table_needs_a_key() -> None:
    with pytest.raises(UsageError, match="a prediction table needs a key"):
        sink_of("table", key=None)
