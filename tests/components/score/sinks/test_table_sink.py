"""The lookup table: every key gives its prediction, of equal keys the first has its place, the bytes are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.score.sinks import table_sink
from headrace.components.score.sinks.blocks import PartWriter
from headrace.components.score.sinks.factory import sink_of
from headrace.components.score.sinks.sink import Published
from headrace.components.score.sinks.table_sink import FILE, PredictionTable, TableSink
from headrace.core.errors import DataError, UsageError

ABOUT = {"model_version": "v" * 16}


@pytest.fixture(autouse=True)
def _small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several runs a part, and several reads a run."""
    monkeypatch.setattr(TableSink, "block_rows", 100)
    monkeypatch.setattr(table_sink, "_MERGE_ROWS", 16)
    monkeypatch.setattr(table_sink, "_TRANSACTION_ROWS", 64)


def build(folder: Path, parts: list[list[str]], batch_rows: int = 33) -> Published:
    """A table of keys whose prediction is 1000 * part + row, both from 1."""
    made = sink_of("table", key="id", about=ABOUT)
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
    with PredictionTable(tmp_path / FILE) as table:
        assert len(table) == 1000
        assert table.about == {**ABOUT, "rows": 1000}
        for place, key in enumerate(keys):
            part, row = (1, place + 1) if place < 450 else (2, place - 449)
            found = table.get(key)
            assert found is not None
            assert json.loads(found) == {"prediction": 1000.0 * part + row, "class": f"class of {key}"}
        assert table.get("key-1000") is table.get("") is table.get("x" * 600) is None


def test_of_equal_keys_the_first_has_its_place(tmp_path: Path) -> None:
    # The key "b" fills more than one read of each run, and goes on in the next part.
    parts = [["c", *["b"] * 150, "a"], ["a", *["b"] * 20, "d"]]
    published = build(tmp_path, parts)
    assert published.rows == 4
    with PredictionTable(tmp_path / FILE) as table:
        found = {key: json.loads(table.get(key) or b"")["prediction"] for key in "abcd"}
    assert found == {"a": 1152.0, "b": 1002.0, "c": 1001.0, "d": 2022.0}
    assert published.rejected is not None
    rejected = published.rejected.sort_by([("part", "ascending"), ("row", "ascending")]).to_pylist()
    expected = [(0, row, b"b", 0, 2) for row in range(3, 152)]
    expected += [(1, 1, b"a", 0, 152), *((1, row, b"b", 0, 2) for row in range(2, 22))]
    assert [(r["part"], r["row"], r["key"], r["first_part"], r["first_row"]) for r in rejected] == expected


def test_a_key_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    published = build(tmp_path, [["x" * 511, "y" * 512]])
    assert published.rows == 1
    assert published.rejected is not None
    (row,) = published.rejected.to_pylist()
    assert (row["row"], row["first_row"], row["bytes"]) == (2, 2, 512)
    with PredictionTable(tmp_path / FILE) as table:
        assert table.get("x" * 511) is not None
        assert table.get("y" * 512) is None


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    keys = [f"key-{i}" for i in np.random.default_rng(3).permutation(5000)]
    for batch_rows in (33, 100, 1):
        build(tmp_path / str(batch_rows), [keys[:2000], keys[2000:]], batch_rows)
    one, other, third = ((tmp_path / name / FILE).read_bytes() for name in ("33", "100", "1"))
    assert one == other == third


def test_integer_keys_are_found_by_their_digits(tmp_path: Path) -> None:
    made = sink_of("table", key="id")
    batch = pa.record_batch({"id": pa.array([10, 9, 100]), "prediction": [0.5, 1.5, 2.5]})
    with PartWriter(str(tmp_path), made, 0) as writer:
        list(writer.write(batch, np.arange(3)))
        list(writer.close())
    made.publish(str(tmp_path), writer.written)
    with PredictionTable(tmp_path / FILE) as table:
        assert [table.get(key) for key in ("9", "10", "100")] == [
            b'{"prediction":1.5}',
            b'{"prediction":0.5}',
            b'{"prediction":2.5}',
        ]


def test_a_table_needs_a_key() -> None:
    with pytest.raises(UsageError, match="a lookup table needs a key"):
        sink_of("table", key=None)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x" * 10_000)
    for name in ("other", "gone"):
        with pytest.raises(DataError, match="the file is not a table of predictions"):
            PredictionTable(tmp_path / name)
