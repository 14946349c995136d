"""TFRecord source: reads the features of tf.train.Examples as columns, and verifies all checksums.

Shards of an Examples artifact may hold numbers divided by a power of two, or a feature's exact number as text besides
it, as its schema.json says: numbers are read in their own unit, and exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Column, Schema
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.open_file import reading, split_name
from headrace.core.tfrecord import EXAMPLE_COLUMN
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records
from headrace.core.values.doubles import doubles_of
from headrace.core.values.scaling import unscaled

# Bytes to read for the columns and the length of a record.
_SAMPLE = 1 << 20
# Maximum size of a record: as a gzip stream of 1 MB may hold a record of 1 GB, a limit bounds the memory.
MAXIMUM_RECORD = 128 << 20
_USUAL_RATE = 5
_APPENDED = re.compile(r"/appended/[0-9]+\Z")


class TFRecordSource:
    """TFRecord files of tf.train.Example. A file with a record of another type is unreadable."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The features of the first records, by name; text if all values are bytes in UTF-8.

        The column `EXAMPLE_COLUMN`, which is each whole record, is there if it is in `wanted`.
        """
        whole = [(EXAMPLE_COLUMN, pa.binary())] if EXAMPLE_COLUMN in wanted else []
        for records in self._records(path, _SAMPLE):
            batch = _in_own_units(_decoded(path, records, None), _scaled_columns(path))
            return [*((field.name, _as_text(batch.column(field.name)).type) for field in batch.schema), *whole]
        return whole

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file: the start of a record is only known from the record before it."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers."""
        first = 1
        features = [name for name in columns if name != EXAMPLE_COLUMN]
        scaled = _scaled_columns(path) if features else {}
        read = [*features, *(c.exact for n, c in scaled.items() if n in features and c.exact is not None)]
        for records in self._records(path, 4 << 20):
            for start in range(0, len(records), batch_rows):
                some = records.slice(start, batch_rows)
                # Records as they lie need no decoding.
                decoded = _in_own_units(_decoded(path, some, read), scaled) if features else None
                arrays = [
                    some.cast(pa.binary()) if decoded is None or name == EXAMPLE_COLUMN else _as_text(decoded[name])
                    for name in columns
                ]
                batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
                yield batch, np.arange(first, first + len(some)), ()
                first += batch.num_rows

    def expected_rows(self, path: str) -> int:
        """Estimates the rows from the length of the first records."""
        for records in self._records(path, _SAMPLE):
            length: float = records.nbytes / len(records)
            rate = _USUAL_RATE if split_name(path)[1] else 1
            return int(max(1, round(storage.size(path) * rate / length)))
        return 1

    def _records(self, path: str, block: int) -> Iterator[pa.LargeBinaryArray]:
        try:
            with reading(path, "TFRecord"), storage.open_input(path) as file:
                packed = split_name(path)[1] is not None
                yield from read_records(
                    file, compressed=packed, name=path, block_bytes=block, maximum_bytes=MAXIMUM_RECORD
                )
        except DataError as error:
            raise _unreadable(path, error) from error


def _decoded(path: str, records: pa.LargeBinaryArray, columns: Sequence[str] | None) -> pa.RecordBatch:
    try:
        return decode(records, columns)
    except DataError as error:
        raise _unreadable(path, error) from error


def _scaled_columns(path: str) -> Mapping[str, Column]:
    """The columns of a shard's Examples artifact whose float_list is not their exact number; empty for other files."""
    artifact, _, split = path.rpartition("/")[0].rpartition("/")
    if split not in SPLITS:
        return {}
    artifact = _APPENDED.sub("", artifact)
    if not storage.exists(storage.join(artifact, "schema.json")):
        return {}
    try:
        return {c.name: c for c in Schema.read(artifact).columns if c.exponent or c.exact is not None}
    except (DataError, KeyError, TypeError):
        return {}


def _in_own_units(batch: pa.RecordBatch, scaled: Mapping[str, Column]) -> pa.RecordBatch:
    for name in scaled.keys() & set(batch.schema.names):
        at, column, exact = batch.schema.get_field_index(name), batch.column(name), scaled[name].exact
        if not pa.types.is_floating(column.type):
            continue
        missing = column.is_null().to_numpy(zero_copy_only=False)
        if exact is None:
            own = unscaled(column.to_numpy(zero_copy_only=False), scaled[name].exponent)
        else:
            own = doubles_of([text or b"" for text in batch.column(exact).to_pylist()])
            missing |= np.isnan(own)
        batch = batch.set_column(at, name, pa.array(own, mask=missing))
    return batch.drop_columns([c.exact for c in scaled.values() if c.exact in batch.schema.names])


def _unreadable(path: str, error: DataError) -> DataError:
    """Converts the error of a record to that of its file; the error of a missing file is unchanged."""
    if isinstance(error, UnreadableFile) or isinstance(error.__cause__, FileNotFoundError | PermissionError):
        return error
    return UnreadableFile(
        error.what, where=error.where or path, expected=error.expected, received=error.received, fix=error.fix
    )


def _as_text(column: pa.Array) -> pa.Array:
    """Bytes as text if they are UTF-8, because categories and keys are text."""
    if not pa.types.is_binary(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return column
