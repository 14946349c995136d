"""Reads Parquet: the columns asked for, as the file types them; row groups are pieces of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components.errors import UnreadableFile
from headrace.components.preprocess.opening import opened, reading
from headrace.components.tfrecord.quarantine import QuarantinedRow

# Row groups that follow each other make one piece up to this many rows: a piece has to be worth its start.
PIECE_ROWS = 500_000

RowGroups = tuple[int, int]


class ParquetSource:
    """Parquet files. Every row is a row here, so none is refused."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """Names and types of the top-level columns."""
        with _opened(path) as file:
            return [(field.name, field.type) for field in file.schema_arrow]

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[RowGroups]:
        """The first row group of each piece and the one after its last; a damaged file is one piece."""
        try:
            with _opened(path) as file:
                rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        except UnreadableFile:
            return [(0, 0)]
        pieces: list[RowGroups] = []
        begin = 0
        for group in range(len(rows)):
            if group + 1 == len(rows) or sum(rows[begin : group + 2]) > PIECE_ROWS:
                pieces.append((begin, group + 1))
                begin = group + 1
        return pieces or [(0, 0)]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: RowGroups | None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers in the file."""
        with _opened(path) as file:
            begin, end = piece or (0, file.metadata.num_row_groups)
            first = 1 + sum(file.metadata.row_group(group).num_rows for group in range(begin))
            # Without threads memory stays at one row group, and the order is the file's; workers are Beam's to add.
            for batch in file.iter_batches(
                batch_rows, row_groups=range(begin, end), columns=list(columns), use_threads=False
            ):
                yield batch.select(list(columns)), np.arange(first, first + batch.num_rows), ()
                first += batch.num_rows

    def expected_rows(self, path: str) -> int:
        """How many rows the footer says there are."""
        with _opened(path) as file:
            rows: int = file.metadata.num_rows
            return rows


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    # Page checksums are compared where the file has them.
    with (
        reading(path, "Parquet"),
        opened(path) as plain,
        pq.ParquetFile(plain, page_checksum_verification=True) as file,
    ):
        yield file
