"""Reads Avro, block by block, into columns typed as the file's schema says."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.open_file import damaged, reading

# What fastavro raises from within a block that is damaged, besides what is said of every file.
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
)

_TYPES: Mapping[str, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "date": pa.date32(),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "uuid": pa.string(),
}


class AvroSource:
    """Avro object container files of records. Every record is a row, so none is refused."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """The fields of the file's record."""
        with _opened(path) as (_, blocks):
            return [(name, _type(kind)) for name, kind in _fields(path, blocks.writer_schema)]

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
            for block in blocks:
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
            # A block cut off within its first bytes looks like the end.
            if end and end != file.seek(0, 2):
                raise UnreadableFile("the file ends within a block", where=path, received=f"the block at byte {end}")
            if waiting:
                batch = _batch(waiting, columns, kinds)
                yield batch, np.arange(first, first + batch.num_rows), ()

    def expected_rows(self, path: str) -> int:
        """From the number of rows in the first block."""
        with _opened(path) as (_, blocks):
            for block in blocks:
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


def _fields(path: str, schema: Any) -> list[tuple[str, Any]]:
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnreadableFile(
            "the file does not hold rows", where=path, expected="Avro records", received=str(schema)[:300]
        )
    return [(field["name"], field["type"]) for field in schema["fields"]]


def _type(kind: Any) -> pa.DataType:
    """The Arrow type of an Avro one; text where values of several types may come."""
    if isinstance(kind, list):
        others = [_type(other) for other in kind if other != "null"]
        numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in others)
        if not others:
            return pa.null()
        return others[0] if len(set(others)) == 1 else pa.float64() if numeric else pa.string()
    if isinstance(kind, dict):
        logical = str(kind.get("logicalType"))
        if logical == "decimal":
            return pa.decimal128(kind["precision"], kind.get("scale", 0))
        if logical in _TYPES:
            return _TYPES[logical]
        if kind["type"] == "array":
            return pa.list_(_type(kind["items"]))
        if kind["type"] == "record":
            return pa.struct([(field["name"], _type(field["type"])) for field in kind["fields"]])
        if kind["type"] == "map":
            return pa.map_(pa.string(), _type(kind["values"]))
        return _type(kind["type"])
    return _TYPES.get(str(kind), pa.string())


def _batch(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kinds: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = []
    for name in columns:
        kind = _type(kinds[name])
        values = [row[name] for row in rows]
        if pa.types.is_string(kind):
            values = [value if value is None or isinstance(value, str) else str(value) for value in values]
        arrays.append(pa.array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
