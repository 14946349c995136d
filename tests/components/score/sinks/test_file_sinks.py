"""Files of predictions: read back exactly, cut by rows alone, in folders by partition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest

from headrace.components.score.sinks import blocks, sink
from headrace.components.score.sinks.blocks import PartWriter
from headrace.components.score.sinks.factory import sink_of
from headrace.components.score.sinks.sink import PublishedFiles, Sink
from headrace.core.errors import DataError

ROWS = 1000


def predictions(rows: int = ROWS) -> pa.RecordBatch:
    rng = np.random.default_rng(1)
    numbers = rng.normal(7, 2, rows).astype(np.float32)
    return pa.record_batch(
        {
            "id": pa.array([f'key "{i}", \n' if i % 7 == 0 else f"key {i}" for i in range(rows)]),
            "prediction": pa.array(numbers),
            "count": pa.array(rng.integers(-5, 5, rows)),
            "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(2 * rows, np.float32)), 2),
            "model_version": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["v" * 16]),
        }
    )


def write(
    folder: Path, made: Sink, batch: pa.RecordBatch, batch_rows: int, partition: pa.Array | None = None
) -> PublishedFiles:
    with PartWriter(str(folder), made, 0, "color" if partition is not None else "") as writer:
        seen = 0
        for begin in range(0, batch.num_rows, batch_rows):
            of = None if partition is None else partition.slice(begin, batch_rows)
            numbers = np.arange(begin + 1, min(begin + batch_rows, batch.num_rows) + 1)
            seen += sum(block.num_rows for block in writer.write(batch.slice(begin, batch_rows), numbers, of))
        seen += sum(block.num_rows for block in writer.close())
    assert seen == batch.num_rows
    return made.publish(str(folder), writer.written)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 128 rows, and files of 300 rows or a block more."""
    monkeypatch.setattr(sink.FileSink, "block_rows", 128)
    monkeypatch.setattr(blocks, "FILE_ROWS", 300)


def read(path: Path, schema: pa.Schema) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".jsonl":
        flat = pa.schema([schema.field(name) for name in schema.names[:3]])
        listed = [flat.field(0), flat.field(1), flat.field(2), pa.field("probabilities", pa.list_(pa.float32()))]
        explicit = pa.schema([*listed, pa.field("model_version", pa.string())])
        table = pajson.read_json(path, parse_options=pajson.ParseOptions(explicit_schema=explicit))
    else:
        types = {"id": pa.string(), "prediction": pa.float32(), "count": pa.int64(), "probabilities": pa.string()}
        table = pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(column_types={**types, "model_version": pa.string()}),
        )
        lists = [json.loads(text) for text in table["probabilities"].to_pylist()]
        table = table.set_column(3, "probabilities", pa.array(lists, pa.list_(pa.float32())))
    return table.cast(schema)


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_what_was_written_reads_back_exactly(tmp_path: Path, name: Any, small_blocks: None) -> None:
    batch = predictions()
    published = write(tmp_path, sink_of(name, key="id"), batch, 100)
    # Three blocks of 128 rows pass the limit of a file.
    assert [(shard.file, shard.rows) for shard in published.files] == [
        (f"predictions/part-00000-of-00003.{name}", 384),
        (f"predictions/part-00001-of-00003.{name}", 384),
        (f"predictions/part-00002-of-00003.{name}", 232),
    ]
    paths = [tmp_path / shard.file for shard in published.files]
    assert pa.concat_tables([read(path, batch.schema) for path in paths]).combine_chunks().to_batches()[0] == batch
    for path, shard in zip(paths, published.files, strict=True):
        content = path.read_bytes()
        assert (shard.bytes, shard.crc32c) == (len(content), f"{google_crc32c.value(content):08x}")


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_the_bytes_do_not_depend_on_the_batches(tmp_path: Path, name: Any, small_blocks: None) -> None:
    contents = []
    for batch_rows in (1, 37, 128, 1000):
        folder = tmp_path / str(batch_rows)
        published = write(folder, sink_of(name, key="id"), predictions(), batch_rows)
        contents.append([(folder / shard.file).read_bytes() for shard in published.files])
    assert contents[0] == contents[1] == contents[2] == contents[3]


def test_row_groups_are_blocks(tmp_path: Path, small_blocks: None) -> None:
    published = write(tmp_path, sink_of("parquet", key="id"), predictions(), 100)
    metadata = pq.ParquetFile(tmp_path / published.files[0].file).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [128, 128, 128]


def test_partitions_are_folders_that_arrow_reads(tmp_path: Path, small_blocks: None) -> None:
    batch = predictions()
    colors = pa.array([["red", "dark/blue = 1 %", None, ""][i % 4] for i in range(ROWS)])
    published = write(tmp_path, sink_of("parquet", key="id"), batch, 100, colors)
    folders = {shard.file.split("/")[1] for shard in published.files}
    assert folders == {"color=red", "color=dark%2Fblue %3D 1 %25", "color=__HIVE_DEFAULT_PARTITION__"}
    assert sum(shard.rows for shard in published.files) == ROWS
    for folder in folders:
        names = sorted(path.name for path in (tmp_path / "predictions" / folder).iterdir())
        assert names == [f"part-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
    table = ds.dataset(tmp_path / "predictions", partitioning="hive").to_table()
    color = dict(zip(table["id"].to_pylist(), table["color"].to_pylist(), strict=True))
    expected = [value or None for value in colors.to_pylist()]
    assert color == dict(zip(batch.column("id").to_pylist(), expected, strict=True))
    assert "color" not in pq.read_schema(tmp_path / published.files[0].file).names


def test_a_column_of_the_predictions_may_partition_them(tmp_path: Path) -> None:
    batch = predictions(10)
    with PartWriter(str(tmp_path), sink_of("csv", key="id"), 0, "count") as writer:
        list(writer.write(batch, np.arange(10), batch.column("count")))
        list(writer.close())
    published = sink_of("csv", key="id").publish(str(tmp_path), writer.written)
    counts = sorted(set(batch.column("count").to_pylist()), key=str)
    assert [shard.file.split("/")[1] for shard in published.files] == [f"count={count}" for count in counts]
    header = (tmp_path / published.files[0].file).read_text().splitlines()[0]
    assert header == '"id","prediction","probabilities","model_version"'


def test_partitions_that_cannot_be_folders_are_refused(tmp_path: Path) -> None:
    batch = predictions(600)
    with pytest.raises(DataError, match="there are too many partitions"):
        write(tmp_path, sink_of("csv", key="id"), batch, 600, pa.array(range(600)))
    with pytest.raises(DataError, match="a value of the partition column is too long"):
        write(tmp_path, sink_of("csv", key="id"), batch, 600, pa.array(["x" * 300] * 600))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_part_that_is_given_up_leaves_no_file(tmp_path: Path, small_blocks: None) -> None:
    writer = PartWriter(str(tmp_path), sink_of("parquet", key="id"), 0)
    with pytest.raises(RuntimeError, match="given up"), writer:
        list(writer.write(predictions(200), np.arange(200)))
        raise RuntimeError("given up")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_rows_whose_types_change_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="the types of the columns change") as caught,
        PartWriter(str(tmp_path), sink_of("csv", key="id"), 0) as writer,
    ):
        list(writer.write(pa.record_batch({"id": [1]}), np.arange(1)))
        list(writer.write(pa.record_batch({"id": ["a"]}), np.arange(1)))
        list(writer.close())
    assert caught.value.paragraph.endswith("Expected id int64. Received: id string.")


def test_bytes_are_a_binary_column_or_base64_and_a_key_of_bytes_is_its_text(tmp_path: Path) -> None:
    raw = pa.array([b"\xff\0", b"text"])
    batch = pa.record_batch({"id": pa.array([b"a", b"b"]), "raw": raw})
    for name in ("parquet", "csv", "jsonl"):
        (file,) = write(tmp_path / name, sink_of(name, key="id"), batch, 10).files
        path = tmp_path / name / file.file
        if name == "parquet":
            assert pq.read_table(path).column("raw").to_pylist() == raw.to_pylist()
        elif name == "csv":
            assert path.read_text().splitlines()[1:] == ['"a","/wA="', '"b","dGV4dA=="']
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            assert rows == [{"id": "a", "raw": {"b64": "/wA="}}, {"id": "b", "raw": {"b64": "dGV4dA=="}}]
