"""Reads JSON lines: one object a line, its members as columns; a line that is none costs one row, and not the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pajson

from headrace.core import storage
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.open_file import opened, reading, split_name

# Lines are read by about so many bytes, and parsed together.
BLOCK = 1 << 20
_USUAL_RATE = 5
_SHOWN = 200


class JsonLinesSource:
    """Files of one JSON object a line, in UTF-8. Blank lines are no rows; a line that is no object is refused."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """The members in the first block of lines."""
        for lines in _blocks(path, BLOCK):
            parsed = _parse(lines, {})
            if parsed is not None:
                return [(field.name, field.type) for field in parsed.schema]
            rows = [row for row in map(_object, lines) if isinstance(row, dict)]
            if not rows:
                raise DataError(
                    "the file is not JSON lines",
                    where=path,
                    expected="one JSON object a line",
                    received=lines[0][:60].decode("utf-8", "replace").strip(),
                    fix="Write each row as one line, without an array around them",
                )
            names = dict.fromkeys(name for row in rows for name in row)
            return [(name, _column([row.get(name) for row in rows]).type) for name in names]
        raise DataError("the file is empty", where=path, expected="one row or more", received="no text")

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file: how many rows there are before a byte is known only from the beginning."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused before or among them."""
        first = 1
        texts: dict[str, pa.DataType] = {}
        for block in _blocks(path, BLOCK):
            for start in range(0, len(block), batch_rows):
                lines = block[start : start + batch_rows]
                parsed = _parse(lines, texts)
                if parsed is not None:
                    yield _select(parsed, columns), np.arange(first, first + len(lines)), ()
                else:
                    yield _one_by_one(path, lines, columns, first)
                first += len(lines)

    def expected_rows(self, path: str) -> int:
        """From the length of the first lines."""
        for lines in _blocks(path, BLOCK):
            rate = _USUAL_RATE if split_name(path)[1] else 1
            length = sum(map(len, lines))
            return max(1, round(len(lines) * max(storage.size(path) * rate, length) / length))
        return 1


def _blocks(path: str, size: int) -> Iterator[list[bytes]]:
    """Lines that are not blank, by about `size` bytes, with their line feeds."""
    with reading(path, "JSON lines"), opened(path) as file:
        text = io.BufferedReader(file, size)
        while lines := text.readlines(size):
            if any(b"\0" in line for line in lines):
                raise UnreadableFile(
                    "the file holds zero bytes, as a damaged disk or a broken transfer leaves them",
                    where=path,
                    fix="Restore the file; rows may be missing where the zeros are",
                )
            if kept := [line for line in lines if not line.isspace()]:
                yield kept


def _parse(lines: Sequence[bytes], texts: dict[str, pa.DataType]) -> pa.RecordBatch | None:
    """All lines at once; None where one is no object, or where a member is of several types.

    Args:
        lines: one row each.
        texts: columns that are to stay text, though it looks like a time; what is found is added.
    """
    content = b"".join(lines)
    while True:
        try:
            table = pajson.read_json(
                io.BytesIO(content),
                read_options=pajson.ReadOptions(use_threads=False, block_size=len(content) + 1),
                parse_options=pajson.ParseOptions(explicit_schema=pa.schema(list(texts.items()))),
            )
        except pa.ArrowException:
            return None
        times = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
        if not times:
            break
        # Arrow takes text of the form of a time as a time, and would write it otherwise than it came.
        texts.update(dict.fromkeys(times, pa.string()))
    # Two objects on a line would be two rows here, and one there.
    if table.num_rows != len(lines) or not table.num_columns:
        return None
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _select(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    names = batch.schema.names
    arrays = [batch.column(name) if name in names else pa.nulls(batch.num_rows) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _one_by_one(
    path: str, lines: Sequence[bytes], columns: Sequence[str], first: int
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
    rows: list[Mapping[str, Any]] = []
    numbers = []
    refused = []
    for number, line in enumerate(lines, first):
        row = _object(line)
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
            continue
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        fault = Fault(None, "malformed_row", f"the line is not a JSON object: {row}")
        refused.append(QuarantinedRow(PurePath(path).name, number, fault, {"line": text[:_SHOWN]}))
    arrays = [_column([row.get(name) for row in rows]) for name in columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    return batch, np.array(numbers, np.int64), tuple(refused)


def _object(line: bytes) -> dict[str, Any] | str:
    """The object on a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return str(error)
    return value if isinstance(value, dict) else f"it is of type {type(value).__name__}"


def _column(values: list[Any]) -> pa.Array:
    """Values of one type as that; of several, or out of its range, as text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        texts = (value if value is None or isinstance(value, str) else json.dumps(value) for value in values)
        return pa.array(list(texts), pa.string())
