"""Reads TFRecords of tf.train.Example, every checksum compared: their features as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.open_file import reading, split_name
from headrace.core.tfrecord import EXAMPLE_COLUMN
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

# Bytes read to learn the columns and the length of a record.
_SAMPLE = 1 << 20
_USUAL_RATE = 5


class TFRecordSource:
    """TFRecord files of tf.train.Example. A file with a record that is none is unreadable."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The features in the first records, by name; where all are bytes that are UTF-8, text.

        The column `EXAMPLE_COLUMN`, each record as it lies, is there for whoever wants it.
        """
        whole = [(EXAMPLE_COLUMN, pa.binary())] if EXAMPLE_COLUMN in wanted else []
        for records in self._records(path, _SAMPLE):
            batch = _decoded(path, records, None)
            return [*((field.name, _as_text(batch.column(field.name)).type) for field in batch.schema), *whole]
        return whole

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file: a record is found only from the one before it."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers."""
        first = 1
        features = [name for name in columns if name != EXAMPLE_COLUMN]
        for records in self._records(path, 4 << 20):
            for start in range(0, len(records), batch_rows):
                some = records.slice(start, batch_rows)
                # Records as they lie need no decoding.
                decoded = _decoded(path, some, features) if features else None
                arrays = [
                    some.cast(pa.binary()) if decoded is None or name == EXAMPLE_COLUMN else _as_text(decoded[name])
                    for name in columns
                ]
                batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
                yield batch, np.arange(first, first + len(some)), ()
                first += batch.num_rows

    def expected_rows(self, path: str) -> int:
        """From the length of the first records."""
        for records in self._records(path, _SAMPLE):
            length: float = records.nbytes / len(records)
            rate = _USUAL_RATE if split_name(path)[1] else 1
            return int(max(1, round(storage.size(path) * rate / length)))
        return 1

    def _records(self, path: str, block: int) -> Iterator[pa.LargeBinaryArray]:
        try:
            with reading(path, "TFRecord"), storage.open_input(path) as file:
                yield from read_records(file, compressed=split_name(path)[1] is not None, name=path, block_bytes=block)
        except DataError as error:
            raise _unreadable(path, error) from error


def _decoded(path: str, records: pa.LargeBinaryArray, columns: Sequence[str] | None) -> pa.RecordBatch:
    try:
        return decode(records, columns)
    except DataError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: DataError) -> DataError:
    """What is wrong with a record is wrong with the file; a file that is not there stays that."""
    if isinstance(error, UnreadableFile) or isinstance(error.__cause__, FileNotFoundError | PermissionError):
        return error
    return UnreadableFile(
        error.what, where=error.where or path, expected=error.expected, received=error.received, fix=error.fix
    )


def _as_text(column: pa.Array) -> pa.Array:
    """Bytes as text where they are, for text is what categories and keys are written as."""
    if not pa.types.is_binary(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return column
