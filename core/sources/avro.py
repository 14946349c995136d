"""Avro source: reads files block by block into columns, with the types of the file's schema."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastavro.schema import SchemaParseException

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.avro_schema import minimum_width, type_of
from headrace.core.sources.open_file import damaged, reading
from headrace.core.values.columns import texts
from headrace.core.values.scalars import text_of

# Exceptions of fastavro for a damaged block, in addition to those for any file.
_BROKEN = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    StopIteration,
    RecursionError,
    SchemaParseException,
)
# Maximum size of a block without compression: as a file of 1 MB may hold a block of 1 GB, a limit bounds the memory.
MAXIMUM_BLOCK = 128 << 20
# Deflate is at most this many times shorter than its content.
_DEFLATE_RATIO = 1032


class AvroSource:
    """Avro object container files of records. Every record is a row, so none is refused."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The fields of the file's record."""
        with _opened(path) as (_, blocks):
            return [(name, type_of(kind)) for name, kind in _fields(path, blocks.writer_schema)]

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers."""
        first = 1
        with _opened(path) as (file, blocks):
            kinds = dict(_fields(path, blocks.writer_schema))
            waiting: list[Any] = []
            end = 0
            width = _record_width(path, blocks.writer_schema)
            for block in _bounded(path, file, blocks):
                held = block.bytes_.getbuffer().nbytes
                if not 0 <= block.num_records * width <= held:
                    raise UnreadableFile(
                        "a block has more rows than its bytes can hold",
                        where=path,
                        expected=f"at most {held // width:,} rows in {held:,} bytes",
                        received=f"{block.num_records:,}",
                    )
                rows = list(block)
                if len(rows) != block.num_records:
                    raise UnreadableFile(
                        "a block is damaged", where=path, expected=f"{block.num_records} rows", received=str(len(rows))
                    )
                waiting.extend(rows)
                end = block.offset + block.size
                while len(waiting) >= batch_rows:
                    batch = _batch(waiting[:batch_rows], columns, kinds)
                    del waiting[:batch_rows]
                    yield batch, np.arange(first, first + batch.num_rows), ()
                    first += batch.num_rows
            # A block that is truncated within its first bytes looks like the end of the file.
            if end and end != file.seek(0, 2):
                raise UnreadableFile("the file ends within a block", where=path, received=f"the block at byte {end}")
            if waiting:
                batch = _batch(waiting, columns, kinds)
                yield batch, np.arange(first, first + batch.num_rows), ()

    def expected_rows(self, path: str) -> int:
        """Estimates the rows from those of the first block."""
        with _opened(path) as (file, blocks):
            for block in _bounded(path, file, blocks):
                share = storage.size(path) / max(int(block.size), 1)
                return max(1, round(int(block.num_records) * share))
        return 1


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    with reading(path, "Avro"), storage.open_input(path) as file:
        try:
            yield file, fastavro.block_reader(file)
        except _BROKEN as error:
            raise damaged(path, "Avro", error) from error


def _bounded(path: str, file: Any, blocks: Any) -> Iterator[Any]:
    """The blocks, of which each is measured before it is decompressed."""
    while True:
        start = file.tell()
        with suppress(*_BROKEN, OSError, EOFError, lzma.LZMAError):
            # What is damaged is found and named when the block is read.
            size = _unpacked_size(file, blocks.codec)
            if size > MAXIMUM_BLOCK:
                raise UnreadableFile(
                    "a block is too long",
                    where=f"{path}, byte {start}",
                    expected=f"at most {MAXIMUM_BLOCK >> 20} MiB without compression",
                )
        file.seek(start)
        block = next(blocks, None)
        if block is None:
            return
        yield block


def _unpacked_size(file: Any, codec: str) -> int:
    """The size of the next block's content, or a little more than `MAXIMUM_BLOCK`; 0 if it is surely short."""
    if codec not in ("deflate", "bzip2", "xz"):
        return 0
    _rows, packed = _read_long(file), _read_long(file)
    if codec == "deflate" and packed * _DEFLATE_RATIO <= MAXIMUM_BLOCK:
        return 0
    content = file.read(packed)
    if codec == "deflate":
        return len(zlib.decompressobj(-15).decompress(content, MAXIMUM_BLOCK + 1))
    opened = bz2.open if codec == "bzip2" else lzma.open
    with opened(io.BytesIO(content)) as stream:
        unpacked: bytes = stream.read(MAXIMUM_BLOCK + 1)
    return len(unpacked)


def _read_long(file: Any) -> int:
    """A number as Avro writes it: 7 bits per byte, the lowest first, zigzag."""
    value = 0
    for shift in range(0, 70, 7):
        byte: int = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1)
    raise ValueError("a number of more than 10 bytes")


def _record_width(path: str, schema: Any) -> int:
    """The minimum size of a record in bytes, 1 or more."""
    try:
        width = minimum_width(schema)
    except ValueError as error:
        raise UnreadableFile("the file's schema is refused", where=path, received=str(error)) from error
    if not width:
        raise UnreadableFile(
            "the file's records have no content", where=path, expected="a column that is not null", received="none"
        )
    return width


def _fields(path: str, schema: Any) -> list[tuple[str, Any]]:
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnreadableFile(
            "the file does not hold rows", where=path, expected="Avro records", received=str(schema)[:300]
        )
    return [(field["name"], field["type"]) for field in schema["fields"]]


def _batch(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kinds: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = []
    for name in columns:
        kind = type_of(kinds[name])
        values = [row[name] for row in rows]
        if pa.types.is_string(kind):
            values = [None if value is None else _text(value) for value in values]
        arrays.append(pa.array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _text(value: Any) -> str:
    """A value of a union of several types as text; bytes are their UTF-8, or the file is damaged."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, bool | int | float | str | Decimal):
        return text_of(value)
    text: str = texts(pa.array([value]))[0][0].as_py()
    return text
