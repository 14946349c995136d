"""The reader against what was written, in any order of records and of rows."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError
from headrace.core.tfrecord import dictionaries
from headrace.core.tfrecord.framing import TFRecordWriter, read_records
from headrace.core.tfrecord.reader import DecodedRows, ExampleReader, Kind, RecordRange

pytestmark = pytest.mark.usefixtures("either_way")

COLUMNS: dict[str, Kind] = {"text": "bytes_list", "x": "float_list", "": "bytes_list", "absent": "float_list"}


def written(path: Path, batch: pa.RecordBatch) -> str:
    with TFRecordWriter(path) as writer:
        writer.write_examples(batch)
    return str(path)


def counted(folder: Path, rows: int, first: int = 0) -> str:
    numbers = range(first, first + rows)
    batch = pa.RecordBatch.from_pydict({"x": pa.array(numbers, pa.float32()), "text": [f"row {n}" for n in numbers]})
    return written(folder / f"{first}.tfrecord", batch)


def texts(found: DecodedRows, column: int = 0) -> list[bytes]:
    return [found.values[column][code] for code in found.codes[column].tolist()]


@max_examples(60)
@given(data=st.data(), rows=st.integers(1, 40))
def test_it_reads_what_was_written(data: st.DataObject, rows: int) -> None:
    def column(values: st.SearchStrategy[object]) -> list[object]:
        return data.draw(st.lists(st.none() | values, min_size=rows, max_size=rows))

    few = st.sampled_from([b"", b"a", b"b", b"longer than eight", b"with\0zero"])
    batch = pa.RecordBatch.from_pydict(
        {
            "text": pa.array(column(few | st.binary(max_size=40)), pa.binary()),
            "x": pa.array(column(st.floats(width=32)), pa.float32()),
            "": pa.array(column(few), pa.binary()),
            "ignored": pa.array(column(st.integers(-5, 5)), pa.int64()),
        }
    )
    order = np.array(data.draw(st.permutations(range(rows))), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        reader = ExampleReader([written(Path(folder) / "a.tfrecord", batch)], COLUMNS)
        found = reader.read([RecordRange(0, 0, rows)], order)
    assert [values[0] for values in found.values] == [b"", b""]
    assert all(len(set(values)) == len(values) for values in found.values)
    for place, name in enumerate(("text", "")):
        expected = [value or b"" for value in batch.column(name).to_pylist()]
        assert [texts(found, place)[row] for row in order] == expected
    expected_numbers = np.array([np.nan if x is None else x for x in batch.column("x").to_pylist()], np.float32)
    np.testing.assert_array_equal(found.numbers[0][order], expected_numbers)
    assert np.isnan(found.numbers[1]).all()


def test_runs_of_several_files_in_any_order(tmp_path: Path) -> None:
    files = [counted(tmp_path, 1000), counted(tmp_path, 700, 1000)]
    reader = ExampleReader(files, {"x": "float_list", "text": "bytes_list"})
    # Later records first: what is passed over is passed over once.
    runs = [
        RecordRange(1, 600, 100),
        RecordRange(0, 511, 2),
        RecordRange(0, 0, 256),
        RecordRange(0, 256, 255),
        RecordRange(1, 0, 1),
    ]
    expected = [*range(1600, 1700), 511, 512, *range(511), 1000]
    for _ in range(2):
        found = reader.read(runs, np.arange(len(expected)))
        assert found.numbers[0].tolist() == expected
        assert texts(found) == [f"row {row}".encode() for row in expected]
    records = [record for batch in read_records(files[1], compressed=False) for record in batch.to_pylist()]
    assert reader.records([RecordRange(1, 698, 2), RecordRange(1, 3, 1)]) == [records[698], records[699], records[3]]


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    reader = ExampleReader([counted(tmp_path, 5000)], {"text": "bytes_list"})

    def block(first: int) -> list[bytes]:
        return texts(reader.read([RecordRange(0, first, 500)], np.arange(500)))

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(block, reversed(range(0, 5000, 500))))
    assert [row for found in reversed(blocks) for row in found] == [f"row {n}".encode() for n in range(5000)]


def test_another_kind_and_damage_are_named(tmp_path: Path) -> None:
    file = counted(tmp_path, 10)
    with pytest.raises(DataError, match="feature 'x' is not one value"):
        ExampleReader([file], {"x": "bytes_list"}).read([RecordRange(0, 0, 10)], np.arange(10))
    reader = ExampleReader([file], {"x": "float_list"})
    with pytest.raises(DataError, match="ends within a record"):
        reader.read([RecordRange(0, 5, 6)], np.arange(6))
    content = bytearray(Path(file).read_bytes())
    content[20] ^= 1
    Path(file).write_bytes(content)
    with pytest.raises(DataError, match="checksum of a record is wrong") as caught:
        ExampleReader([file], {"x": "float_list"}).read([RecordRange(0, 0, 10)], np.arange(10))
    assert caught.value.where == f"{file}, byte 0"


def test_dictionaries_are_kept_while_they_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "_KEPT", 20)
    few = pa.RecordBatch.from_pydict({"text": [f"{n % 7} of the few" for n in range(300)]})
    reader = ExampleReader([written(tmp_path / "few.tfrecord", few), counted(tmp_path, 300)], {"text": "bytes_list"})
    for rows in (4, 100, 30):
        found = reader.read([RecordRange(0, 10, rows)], np.arange(rows))
        assert texts(found) == [f"{n % 7} of the few".encode() for n in range(10, 10 + rows)]
        assert len(found.values[0]) <= 8
    for first in (0, 50, 100):
        found = reader.read([RecordRange(1, first, 50)], np.arange(50))
        assert texts(found) == [f"row {n}".encode() for n in range(first, first + 50)]
        assert len(found.values[0]) <= 58
    # A read that fails leaves nothing behind.
    with pytest.raises(DataError, match="ends within a record"):
        reader.read([RecordRange(0, 290, 20)], np.arange(20))
    assert texts(reader.read([RecordRange(0, 293, 7)], np.arange(7))) == [
        f"{n % 7} of the few".encode() for n in range(293, 300)
    ]
