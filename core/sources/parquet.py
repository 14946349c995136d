"""Reads Parquet: the columns asked for, as the file types them; row groups are pieces of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.open_file import opened, reading
from headrace.core.values.columns import is_text, logical

# Row groups that follow each other make one piece up to this many rows: a piece has to be worth its start.
PIECE_ROWS = 500_000

RowGroups = tuple[int, int]


# A text that is written out takes 4 bytes and its own; a column of texts that is smaller is codes of a dictionary.
_CODED_BYTES = 4.0


class ParquetSource:
    """Parquet files. Every row is a row here, so none is refused."""

    def __init__(self, coded: Collection[str] = ()) -> None:
        """Prepares to read.

        Args:
            coded: columns of text that come as dictionaries where the file has them so, which makes no text of each
                value.
        """
        self._coded = coded

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """Names and types of the top-level columns."""
        with _opened(path) as file:
            return [(field.name, logical(pa.nulls(0, field.type)).type) for field in file.schema_arrow]

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
        with _opened(path, self._coded, batch_rows) as file:
            begin, end = piece or (0, file.metadata.num_row_groups)
            first = 1 + sum(file.metadata.row_group(group).num_rows for group in range(begin))
            # Without threads memory stays at one row group, and the order is the file's; workers are Beam's to add.
            for batch in file.iter_batches(
                batch_rows, row_groups=range(begin, end), columns=list(columns), use_threads=False
            ):
                arrays = [_plain(path, name, batch.column(name)) for name in columns]
                plain = pa.RecordBatch.from_arrays(arrays, names=list(columns)) if arrays else batch.select([])
                yield plain, np.arange(first, first + batch.num_rows), ()
                first += batch.num_rows

    def expected_rows(self, path: str) -> int:
        """How many rows the footer says there are."""
        with _opened(path) as file:
            rows: int = file.metadata.num_rows
            return rows


def _plain(path: str, name: str, column: pa.Array) -> pa.Array:
    """A column in its plain physical form, dictionaries as they are; its texts are checked once, here."""
    coded = pa.types.is_dictionary(column.type)
    plain = column if coded else logical(column)
    words = column.dictionary if coded else plain
    if is_text(words.type):
        try:
            words.validate(full=True)
        except pa.ArrowInvalid as error:
            raise UnreadableFile(
                f'text in the column "{name}" is not UTF-8',
                where=path,
                received=str(error).splitlines()[0][:200].rstrip("."),
                fix="Write the column as text, or as binary where it is none",
            ) from error
    return plain


@contextmanager
def _opened(path: str, coded: Collection[str] = (), batch_rows: int = 0) -> Iterator[pq.ParquetFile]:
    # Page checksums are compared where the file has them.
    with reading(path, "Parquet"), opened(path) as plain:
        metadata = pq.read_metadata(plain) if coded else None
        with pq.ParquetFile(
            plain,
            metadata=metadata,
            read_dictionary=None if metadata is None else _held_as_codes(metadata, coded, batch_rows),
            page_checksum_verification=True,
        ) as file:
            yield file


def _held_as_codes(metadata: pq.FileMetaData, coded: Collection[str], batch_rows: int) -> list[str]:
    """Those of the columns that are text, and throughout the file so small that most of it are codes."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    # Each row group has a dictionary of its own, so that no batch would hold rows of two.
    if any(group.num_rows < batch_rows for group in groups[:-1]):
        return []
    found = []
    for at in range(metadata.num_columns):
        column = metadata.schema.column(at)
        if column.path in coded and column.logical_type.type == "STRING" and not column.max_repetition_level:
            size = sum(group.column(at).total_uncompressed_size for group in groups)
            if size < _CODED_BYTES * metadata.num_rows:
                found.append(column.path)
    return found
