"""Avro files of rows that are bytes, whatever they hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.sources.avro.reader import AvroSource


def long(value: int) -> bytes:
    """A number as Avro writes it."""
    zigzag, out = (value << 1) ^ (value >> 63), bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def text(content: bytes) -> bytes:
    """Bytes as Avro writes them, after their number."""
    return long(len(content)) + content


def avro_file(fields: Sequence[tuple[str, Any]], *blocks: Sequence[bytes]) -> bytes:
    """A file whose rows are bytes, whatever they hold."""
    schema = {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields]}
    content = io.BytesIO()
    fastavro.writer(content, schema, [])
    header = content.getvalue()
    found = [long(len(rows)) + text(b"".join(rows)) + header[-16:] for rows in blocks]
    return header + b"".join(found)


def read(path: Path, columns: Sequence[str], batch_rows: int = 100) -> tuple[pa.Table, list[int], list[QuarantinedRow]]:
    """The rows of a file, their numbers, and the rows refused."""
    batches, numbers, refused = [], [], []
    for batch, numbered, rows in AvroSource().read(str(path), columns, batch_rows):
        batch.validate(full=True)
        assert batch.num_rows == len(numbered)
        batches.append(batch)
        numbers += numbered.tolist()
        refused += rows
    return pa.Table.from_batches(batches), numbers, refused
