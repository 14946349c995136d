"""Avro source: reads files block by block into columns, with the types of the file's schema."""

from __future__ import annotations

import bz2
import io
import json
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
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.avro_schema import is_narrow, minimum_width, type_of
from headrace.core.sources.open_file import damaged, reading
from headrace.core.sources.source import file_name
from headrace.core.values.columns import texts
from headrace.core.values.mixed import is_mixed, member, mixed_array
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
# The codecs whose blocks `_unpacked_size` measures. fastavro reads others where their packages are installed.
_CODECS = ("null", "deflate", "bzip2", "xz")
# Maximum characters of a value that quarantine shows.
_SHOWN = 60
# Deflate is at most this many times shorter than its content.
_DEFLATE_RATIO = 1032


class AvroSource:
    """Avro object container files of records."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The fields of the file's record."""
        with _opened(path) as (_, blocks):
            fields = _fields(path, blocks.writer_schema)
            _record_width(path, blocks.writer_schema)
            return [(name, type_of(kind)) for name, kind in fields]

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
                    yield _batch(path, waiting[:batch_rows], columns, kinds, first)
                    del waiting[:batch_rows]
                    first += batch_rows
            # A block that is truncated within its first bytes looks like the end of the file.
            if end and end != file.seek(0, 2):
                raise UnreadableFile("the file ends within a block", where=path, received=f"the block at byte {end}")
            if waiting:
                yield _batch(path, waiting, columns, kinds, first)

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
            blocks = fastavro.block_reader(file)
            if blocks.codec not in _CODECS:
                raise UnreadableFile(
                    "the compression of the file is not supported",
                    where=path,
                    expected=f"{', '.join(_CODECS[:-1])} or {_CODECS[-1]}",
                    received=str(blocks.codec)[:_SHOWN],
                    fix="Write the file with one of these codecs",
                )
            yield file, blocks
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
    if codec == "null":
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


def _batch(
    path: str, rows: list[Mapping[str, Any]], columns: Sequence[str], kinds: Mapping[str, Any], first: int
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
    """Columns of rows, the first of which has the number `first`.

    Of a union of several types, rows are refused whose value is bytes that are not UTF-8.
    """
    unions = [name for name in columns if is_mixed(type_of(kinds[name]))]
    refused = {
        row: Fault(name, "not_utf8", f"{name} is not UTF-8: {ascii(held)[:_SHOWN]}")
        for name in unions
        for row, held in ((row, of[name]) for row, of in enumerate(rows) if isinstance(of[name], bytes))
        if not _is_utf8(held)
    }
    kept = [row for number, row in enumerate(rows) if number not in refused] if refused else rows
    arrays = []
    for name in columns:
        values = [row[name] for row in kept]
        kind = type_of(kinds[name])
        if is_mixed(kind):
            narrow = is_narrow(kinds[name])
            arrays.append(mixed_array([_scalar(value, narrow=narrow) for value in values]))
        elif pa.types.is_string(kind):
            # UUIDs are objects of Python.
            arrays.append(pa.array([None if value is None else str(value) for value in values], kind))
        else:
            arrays.append(pa.array(values, kind))
    numbers = np.delete(np.arange(first, first + len(rows)), list(refused))
    quarantined = (
        QuarantinedRow(file_name(path), first + row, fault, {name: _shown(rows[row][name]) for name in columns})
        for row, fault in sorted(refused.items())
    )
    return pa.RecordBatch.from_arrays(arrays, names=list(columns)), numbers, tuple(quarantined)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _scalar(value: Any, *, narrow: bool) -> bool | int | float | str | None:
    """A value of a union of several types, with its type if it is a boolean or a number; others are text.

    Args:
        value: as fastavro reads it.
        narrow: whether fractions are float32.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return member(value, single=narrow)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return text_of(value) if isinstance(value, Decimal) else str(texts(pa.array([value]))[0][0].as_py())


def _shown(value: Any) -> Any:
    """A value as quarantine holds it."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value if value is None or isinstance(value, bool | int | str) else str(value)
