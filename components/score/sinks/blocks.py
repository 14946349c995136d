"""Part writer: writes the predictions of one part in blocks and files of a fixed number of rows, by partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import BinaryIO, Self, cast
from urllib.parse import quote

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.score.config import FILE_ROWS
from headrace.components.score.sinks.sink import ROW_NUMBER, WAITING, BlockWriter, PendingFile, Sink
from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.sources.partitions import NO_VALUE
from headrace.core.values.columns import as_text

# Each partition of a part has an open file while the part is written.
_MAX_PARTITIONS = 500
_MAX_FOLDER_BYTES = 200


@dataclass(frozen=True)
class _Rows:
    predictions: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    partition: pa.Array | None

    def slice(self, begin: int, rows: int) -> Self:
        partition = None if self.partition is None else self.partition.slice(begin, rows)
        return type(self)(self.predictions.slice(begin, rows), self.numbers[begin : begin + rows], partition)


class PartWriter:
    """Writes predictions of a part into files that are published later; a file exists after a successful `close`.

    After FILE_ROWS of the part's rows, over all partitions, new files are started.
    """

    def __init__(self, folder: str, sink: Sink, part: int, partition_by: str = "") -> None:
        """Creates a writer without files.

        Args:
            folder: the folder of the artifact in progress.
            sink: the format of the files.
            part: the index of the part.
            partition_by: the column whose values are the partitions; "" for none.
        """
        self._folder = folder
        self._sink = sink
        self._part = part
        self._partition_by = partition_by
        self._rows: list[_Rows] = []
        self._gathered = 0
        self._in_files = 0
        self._index = 0
        self._open: dict[str, _OpenFile] = {}
        self._stack = ExitStack()
        self.written: list[PendingFile] = []

    def write(
        self, predictions: pa.RecordBatch, numbers: npt.NDArray[np.int64], partition: pa.Array | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Adds rows, and yields the blocks that are complete and written.

        Args:
            predictions: all calls have one schema.
            numbers: the rows' numbers in the part.
            partition: the values of the partition column; if that column is a prediction, it is not written.

        Raises:
            DataError: there are too many partitions, or a value is not valid as a folder's name.
        """
        self._rows.append(_Rows(predictions, numbers, partition))
        self._gathered += predictions.num_rows
        while self._gathered >= self._sink.block_rows:
            yield self._write_block(self._sink.block_rows)

    def close(self) -> Iterator[pa.RecordBatch]:
        """Writes and yields the last block, and closes the files."""
        if self._gathered:
            yield self._write_block(self._gathered)
        self._close_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # Files of a failed part are not renamed. Their writers are closed too: some write when they are deleted.
        if self._open:
            for file in self._open.values():
                with suppress(OSError, pa.ArrowException):
                    file.writer.close()
            self._stack.__exit__(RuntimeError, RuntimeError("the part was abandoned"), None)

    def _write_block(self, rows: int) -> pa.RecordBatch:
        taken = self._take(rows)
        block = _joined([part.predictions for part in taken])
        partition = None
        if self._partition_by:
            partition = pa.concat_arrays([as_text(p.partition).cast(pa.string()) for p in taken])
        whole = block
        if self._partition_by in block.schema.names:
            block = block.remove_column(block.schema.get_field_index(self._partition_by))
        if self._sink.numbered:
            numbers = pa.array(np.concatenate([part.numbers for part in taken]), pa.int64())
            block = pa.RecordBatch.from_arrays([numbers, *block.columns], names=[ROW_NUMBER, *block.schema.names])
        if partition is None:
            self._file("", block.schema).write(block)
        else:
            for folder, at in self._split(partition).items():
                self._file(folder, block.schema).write(block.take(at))
        self._in_files += rows
        if self._in_files >= max(FILE_ROWS, self._sink.block_rows) or self._sink.numbered:
            self._close_files()
        return whole

    def _take(self, rows: int) -> list[_Rows]:
        """Removes and returns the first `rows` buffered rows."""
        taken = []
        self._gathered -= rows
        while rows:
            first = self._rows.pop(0)
            if first.predictions.num_rows > rows:
                self._rows.insert(0, first.slice(rows, first.predictions.num_rows - rows))
                first = first.slice(0, rows)
            taken.append(first)
            rows -= first.predictions.num_rows
        return taken

    def _split(self, values: pa.Array) -> Mapping[str, pa.Array]:
        """The rows of each partition, by its folder, in the folders' order."""
        encoded = values.dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy()
        # Null and "" share one folder.
        found: dict[str, list[int]] = {}
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            found.setdefault(f"{self._partition_by}={_folder_name(self._partition_by, value)}", []).append(code)
        if len(found.keys() | self._open.keys()) > _MAX_PARTITIONS:
            raise DataError(
                "there are too many partitions",
                where=self._partition_by,
                expected=f"at most {_MAX_PARTITIONS} different values in a file or row group",
                received=f"{len(found.keys() | self._open.keys()):,} or more",
                fix="Use a column with fewer distinct values",
            )
        return {folder: pa.array(np.flatnonzero(np.isin(codes, found[folder]))) for folder in sorted(found)}

    def _file(self, partition: str, schema: pa.Schema) -> _OpenFile:
        if partition not in self._open:
            name = f"{self._part:06d}-{self._index:06d}.{self._sink.ending}"
            path = "/".join([WAITING, *([partition] if partition else []), name])
            plain = self._stack.enter_context(storage.open_output(storage.join(self._folder, path)))
            measured = MeasuredFile(plain)
            writer = self._sink.writer(cast(BinaryIO, measured), schema)
            self._open[partition] = _OpenFile(path, measured, writer)
        return self._open[partition]

    def _close_files(self) -> None:
        for partition, file in sorted(self._open.items()):
            file.writer.close()
            self.written.append(
                PendingFile(
                    self._part,
                    self._index,
                    partition,
                    file.path,
                    file.rows,
                    file.measured.bytes,
                    file.measured.crc32c,
                )
            )
        self._open.clear()
        # Files are renamed only after all are closed.
        self._stack.close()
        self._index += 1
        self._in_files = 0


@dataclass
class _OpenFile:
    path: str
    measured: MeasuredFile
    writer: BlockWriter
    rows: int = 0

    def write(self, block: pa.RecordBatch) -> None:
        self.writer.write(block)
        self.rows += block.num_rows


class MeasuredFile:
    """A writable file that counts its bytes and computes their checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._crc = 0
        self.bytes = 0
        self.closed = False

    def write(self, content: bytes | pa.Buffer) -> int:
        """Writes all bytes."""
        plain = content if isinstance(content, bytes) else bytes(content)
        self._file.write(plain)
        self._crc = google_crc32c.extend(self._crc, plain)
        self.bytes += len(plain)
        return len(plain)

    def tell(self) -> int:
        """Number of bytes written."""
        return self.bytes

    def flush(self) -> None:
        """Does nothing; closing the underlying file flushes it."""

    def close(self) -> None:
        """Does nothing; the code that opened the underlying file closes it."""

    def writable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is not."""
        return False

    @property
    def crc32c(self) -> str:
        """The checksum as 8 hexadecimal digits."""
        return f"{self._crc:08x}"


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Concatenates batches of one schema, in contiguous memory."""
    if len(batches) == 1:
        return batches[0]
    for batch in batches[1:]:
        if batch.schema != batches[0].schema:
            raise DataError(
                "the types of the columns change within the file",
                expected=_types(batches[0].schema),
                received=_types(batch.schema),
            )
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def _types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _folder_name(column: str, value: str | None) -> str:
    """A value as part of a folder's name, in the notation of Hive, Spark and Arrow."""
    if not value:
        return NO_VALUE
    name = quote(value, safe=" -_.,:;+@")
    if len(name) > _MAX_FOLDER_BYTES:
        raise DataError(
            "a value of the partition column is too long for a folder's name",
            where=column,
            expected=f"at most {_MAX_FOLDER_BYTES} bytes",
            received=f"{value[:40]!r}...",
        )
    return name


def same_rows(numbers: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], column: pa.Array) -> pa.Array:
    """The values of a column for the remaining rows, found by row number; numbers increase."""
    if len(kept) == len(numbers):
        return column
    return pc.take(column, pa.array(np.searchsorted(numbers, kept)))
