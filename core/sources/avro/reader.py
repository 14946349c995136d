"""Avro source: reads files block by block into columns, with the types of the file's schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.avro.blocks import Fields, bounded, opened_blocks
from headrace.core.sources.avro.columns import column_of, shown
from headrace.core.sources.avro.parts import MAXIMUM_ROW
from headrace.core.sources.avro.schema import type_of
from headrace.core.sources.faulty_rows import split_batch


class AvroSource:
    """Avro object container files of records. A row with a value that cannot be decoded is refused."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The fields of the file's record."""
        with opened_blocks(path) as (_, blocks):
            return [(name, type_of(kind)) for name, kind in Fields(path, blocks.writer_schema).kinds.items()]

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused among them."""
        first = 1
        with opened_blocks(path) as (file, blocks):
            fields = Fields(path, blocks.writer_schema)
            waiting: list[Mapping[str, Any]] = []
            end = held = 0
            for block in bounded(path, file, blocks):
                for rows, size in fields.rows(block, columns, first + len(waiting)):
                    waiting.extend(rows)
                    del rows
                    held += size
                    # A few long rows are a batch, too.
                    while len(waiting) >= batch_rows or (waiting and held > MAXIMUM_ROW):
                        count = min(batch_rows, len(waiting))
                        yield _batch(path, waiting[:count], columns, fields, first)
                        del waiting[:count]
                        first += count
                    if not waiting:
                        held = 0
                end = block.offset + block.size
            # A block that is truncated within its first bytes looks like the end of the file.
            if end and end != file.seek(0, 2):
                raise UnreadableFile("the file ends within a block", where=path, received=f"the block at byte {end}")
            if waiting:
                yield _batch(path, waiting, columns, fields, first)

    def expected_rows(self, path: str) -> int:
        """Estimates the rows from those of the first block."""
        with opened_blocks(path) as (file, blocks):
            for block in bounded(path, file, blocks):
                share = storage.size(path) / max(int(block.size), 1)
                return max(1, round(int(block.num_records) * share))
        return 1


def _batch(
    path: str, rows: list[Mapping[str, Any]], columns: Sequence[str], fields: Fields, first: int
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
    """Columns of rows, the first of which has the number `first`, and the rows with values that their types lack."""
    if not columns:
        return pa.RecordBatch.from_arrays([], []), np.arange(first, first + len(rows)), ()
    found = {name: column_of(name, fields.kinds[name], [row[name] for row in rows]) for name in columns}
    return split_batch(path, first, found, lambda name, row: shown(rows[row][name]))
