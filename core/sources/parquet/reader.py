"""Parquet source: reads the requested columns with the file's types; groups of row groups are the pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import UnreadableFile
from headrace.core.sources.faulty_rows import split_batch
from headrace.core.sources.open_file import opened, reading
from headrace.core.sources.parquet.pages import check_pages, repeating, values_of_lists, with_large_values
from headrace.core.sources.parquet.texts import checked, written
from headrace.core.values.columns import is_bytes, is_text, logical

# Consecutive row groups are one piece up to this many rows, because starting a piece takes time.
PIECE_ROWS = 500_000
# A plain text takes 4 bytes and its characters; a smaller column of texts is dictionary-encoded.
_CODED_BYTES = 4.0
# A batch of values of a dictionary takes at most about this many bytes when they are decoded.
_BATCH_BYTES = 256 << 20
# What a file's dictionaries may decode to, at least; and what of it a byte of the file and a row may.
_DECODED_BYTES = 1 << 30
_DECODED_PER_BYTE = 100
_DECODED_PER_ROW = 16 << 10
# A value of a list takes some bytes, with its place in the list.
_LIST_VALUE = 8

RowGroups = tuple[int, int]


class ParquetSource:
    """Parquet files. A row with text that is not UTF-8 is refused."""

    def __init__(self, coded: Collection[str] = ()) -> None:
        """Creates a source.

        Args:
            coded: columns of text that are returned as dictionaries if the file stores them this way, without a text
                per value.
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
        """Batches of at most `batch_rows` rows, the rows' numbers in the file, and the rows refused among them."""
        with _opened(path, columns, self._coded, batch_rows, piece) as file:
            begin, end = piece or (0, file.metadata.num_row_groups)
            groups = range(begin, end)
            expansion = _Expansion(path, storage.size(path))
            expansion.check_lists(file.metadata, groups, columns)
            with reading(path, "Parquet"), opened(path) as plain:
                check_pages(path, plain, file.metadata, groups, columns)
                longest = repeating(path, plain, file.metadata, groups, columns, _BATCH_BYTES // batch_rows)
            rows = max(1, min([batch_rows, *(_BATCH_BYTES // length for length in longest.values())]))
            first = 1 + sum(file.metadata.row_group(group).num_rows for group in range(begin))
            # Without threads memory is bounded by one row group and the order is the file's; Beam adds parallelism.
            batches = file.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False)
            for batch in batches if rows == batch_rows else expansion.joined(batches, list(longest), batch_rows):
                good, numbers, refused = _without_faults(path, batch, columns, first)
                first += batch.num_rows
                at = 0
                for part in expansion.bounded(good):
                    yield part, numbers[at : at + part.num_rows], refused
                    at, refused = at + part.num_rows, ()

    def expected_rows(self, path: str) -> int:
        """The number of rows in the footer."""
        with _opened(path) as file:
            rows: int = file.metadata.num_rows
            return rows


class _Expansion:
    """Bounds the memory and the time of values that rows repeat, by the bytes of the file."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._bound = max(_DECODED_BYTES, _DECODED_PER_BYTE * size)
        self._decoded = self._rows = 0

    def bounded(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Cuts a batch where its dictionaries decode to much.

        Raises:
            UnreadableFile: the dictionaries decode to more than the file's size justifies.
        """
        sizes = np.zeros(batch.num_rows, np.int64)
        for column in batch.columns:
            if pa.types.is_dictionary(column.type) and (is_text(column.type) or is_bytes(column.type)):
                lengths = pc.binary_length(column.dictionary).fill_null(0).to_numpy().astype(np.int64)
                if lengths.max(initial=0) * batch.num_rows > _BATCH_BYTES:
                    sizes += np.append(lengths, 0)[column.indices.fill_null(len(lengths)).to_numpy()]
        total = int(sizes.sum())
        self._rows += batch.num_rows
        self._count(total)
        if total <= _BATCH_BYTES:
            yield batch
            return
        ends, begin = np.cumsum(sizes), 0
        while begin < batch.num_rows:
            before = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _BATCH_BYTES, side="right")))
            yield batch.slice(begin, end - begin)
            begin = end

    def joined(
        self, batches: Iterator[pa.RecordBatch], repeating: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Joins small batches up to `batch_rows` rows, or up to what the columns named in `repeating` may take.

        Raises:
            UnreadableFile: these columns decode to more than the file's size justifies.
        """
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            more = sum(batch.column(name).nbytes for name in repeating)
            if waiting and (rows + batch.num_rows > batch_rows or size + more > _BATCH_BYTES):
                yield pa.concat_batches(waiting)
                waiting, rows, size = [], 0, 0
            self._count(more, rows + batch.num_rows)
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + more
        if waiting:
            yield pa.concat_batches(waiting)

    def check_lists(self, metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]) -> None:
        """Checks that the file's size and rows justify the number of values in its lists.

        Raises:
            UnreadableFile: they do not.
        """
        rows = sum(metadata.row_group(group).num_rows for group in groups)
        for values in values_of_lists(metadata, groups, columns).values():
            self._check(values * _LIST_VALUE, rows)

    def _count(self, decoded: int, waiting: int = 0) -> None:
        """Adds bytes that were decoded; `waiting` rows of them are not yet in a batch."""
        self._decoded += decoded
        self._check(self._decoded, self._rows + waiting)

    def _check(self, decoded: int, rows: int) -> None:
        if decoded > self._bound and decoded > _DECODED_PER_ROW * rows:
            raise UnreadableFile(
                "rows repeat a large value",
                where=self._path,
                expected=f"at most {self._bound >> 20:,} MiB of values in all rows",
                received=f"{decoded >> 20:,} MiB in {rows:,} rows",
                fix="Leave the column out, or write it without a dictionary and in another encoding",
            )


def _without_faults(
    path: str, batch: pa.RecordBatch, columns: Sequence[str], first: int
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
    """The rows of a batch whose texts are UTF-8, in the plain physical form, their numbers, and the other rows."""
    if not columns:
        return batch.select([]), np.arange(first, first + batch.num_rows), ()
    found = {name: checked(name, batch.column(name)) for name in columns}
    return split_batch(path, first, found, lambda name, row: written(batch.column(name), row))


@contextmanager
def _opened(
    path: str,
    columns: Sequence[str] = (),
    coded: Collection[str] = (),
    batch_rows: int = 0,
    piece: RowGroups | None = None,
) -> Iterator[pq.ParquetFile]:
    # Page checksums are compared if the file has them.
    with reading(path, "Parquet"), opened(path) as plain:
        try:
            metadata = pq.read_metadata(plain) if columns else None
            codes: list[str] = []
            if metadata is not None:
                groups = range(*(piece or (0, metadata.num_row_groups)))
                codes = with_large_values(path, plain, metadata, groups, columns, _BATCH_BYTES // batch_rows)
                codes += [name for name in _held_as_codes(metadata, coded, batch_rows) if name not in codes]
            file = pq.ParquetFile(
                plain, metadata=metadata, read_dictionary=codes or None, page_checksum_verification=True
            )
        except UnicodeDecodeError as error:
            raise UnreadableFile("the name of a column is not UTF-8", where=path, received=str(error)) from error
        with file:
            yield file


def _held_as_codes(metadata: pq.FileMetaData, coded: Collection[str], batch_rows: int) -> list[str]:
    """The text columns that are so small in the whole file that most of their values are codes."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    # Each row group has its own dictionary, so a batch must not contain rows of two.
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
