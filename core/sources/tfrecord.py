"""TFRecord source: reads the features of tf.train.Examples as columns, and verifies all checksums.

Shards of an Examples artifact may hold numbers divided by a power of two, or a feature's exact number as text besides
it, as its schema.json says: numbers are read in their own unit, and exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Schema, SchemaColumn
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.open_file import reading, split_name
from headrace.core.sources.source import MAXIMUM_MEMBERS
from headrace.core.tfrecord import EXAMPLE_COLUMN
from headrace.core.tfrecord.conversion import is_list
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records
from headrace.core.values.columns import is_bytes
from headrace.core.values.doubles import doubles_of
from headrace.core.values.mixed import member, mixed_array
from headrace.core.values.scaling import unscaled

# Bytes to read for the columns and the length of a record.
_SAMPLE = 1 << 20
# Maximum size of a record: as a gzip stream of 1 MB may hold a record of 1 GB, a limit bounds the memory.
MAXIMUM_RECORD = 128 << 20
_USUAL_RATE = 5
# A feature has one value per record if, of so many records, at most this fraction has several, or one of so many.
_JUDGED_ROWS, _SEVERAL, _ONE_OF = 1000, 0.05, 10
_APPENDED = re.compile(r"/appended/[0-9]+\Z")


class TFRecordSource:
    """TFRecord files of tf.train.Example. A file with a record of another type is unreadable."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The features of the first records, and those of `wanted` that later ones have; text if all are UTF-8.

        The column `EXAMPLE_COLUMN`, which is each whole record, is there if it is in `wanted`.
        """
        found: dict[str, pa.DataType] = {}
        scaled = _scaled_columns(path)
        late: list[str] | None = None
        for records in self._records(path, _SAMPLE):
            batch = _in_own_units(_decoded(path, records, late and _with_exact(late, scaled)), scaled)
            kinds = ((name, _kind(column)) for name, column in zip(batch.schema.names, batch.columns, strict=True))
            # A feature of `late` that these records do not have either is a column of nulls.
            found |= {name: kind for name, kind in kinds if not pa.types.is_null(kind)}
            late = [name for name in wanted if name not in found and name != EXAMPLE_COLUMN]
            if not late:
                break
        return [*found.items(), *([(EXAMPLE_COLUMN, pa.binary())] if EXAMPLE_COLUMN in wanted else [])]

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
        read = _with_exact(features, scaled)
        single: dict[str, bool] = {}
        for records in self._records(path, 4 << 20):
            new = [name for name in features if name not in single]
            if new:
                first_of_block = _decoded(path, records.slice(0, _JUDGED_ROWS), new)
                met = (name for name in new if not pa.types.is_null(first_of_block[name].type))
                single |= {name: _is_single(first_of_block[name]) for name in met}
            for start in range(0, len(records), batch_rows):
                some = records.slice(start, batch_rows)
                # Records as they lie need no decoding.
                decoded = _in_own_units(_decoded(path, some, read), scaled) if features else None
                arrays = [
                    some.cast(pa.binary())
                    if decoded is None or name == EXAMPLE_COLUMN
                    else _as_text(_one_value(decoded[name]) if single.get(name) else decoded[name])
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
        return decode(records, columns, maximum_features=MAXIMUM_MEMBERS)
    except DataError as error:
        raise _unreadable(path, error) from error


def _scaled_columns(path: str) -> Mapping[str, SchemaColumn]:
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


def _with_exact(features: Sequence[str], scaled: Mapping[str, SchemaColumn]) -> list[str]:
    """Features, and the columns of their exact numbers."""
    return [*features, *(c.exact for name, c in scaled.items() if name in features and c.exact is not None)]


def _in_own_units(batch: pa.RecordBatch, scaled: Mapping[str, SchemaColumn]) -> pa.RecordBatch:
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


def _kind(column: pa.Array) -> pa.DataType:
    single = is_list(column.type) and _is_single(column.slice(0, _JUDGED_ROWS))
    return _as_text(column.flatten() if single else column).type


def _is_single(column: pa.Array) -> bool:
    """Whether a feature has one value in nearly all records, so that other records are the exception."""
    if not is_list(column.type):
        return True
    lengths = pc.list_value_length(column).drop_null().to_numpy()
    several = np.count_nonzero(lengths > 1)
    return bool(several <= _SEVERAL * len(lengths) or (several == 1 and len(lengths) >= _ONE_OF))


def _one_value(column: pa.Array) -> pa.Array:
    """A column with one value per row: null without a value, and where there are several, their JSON as text.

    As in JSON lines, such a text is no number, and a fault of its row alone. Bytes that are not UTF-8 stay lists.
    """
    if not is_list(column.type):
        return column
    lengths = pc.list_value_length(column).fill_null(0)
    if pc.max(lengths).as_py() <= 1:
        places = pc.subtract(pc.cumulative_sum(lengths), 1)
        return column.flatten().take(pc.if_else(pc.equal(lengths, 1), places, None))
    try:
        values = [None if not held else held[0] if len(held) == 1 else _json(held) for held in column.to_pylist()]
    except UnicodeDecodeError:
        return column
    if is_bytes(column.type.value_type):
        return pa.array([value.encode() if isinstance(value, str) else value for value in values], pa.binary())
    return mixed_array([member(value, single=True) if isinstance(value, float) else value for value in values])


def _json(values: Sequence[bytes | float | int]) -> str:
    def plain(value: bytes | float | int) -> str | float | int | None:
        if isinstance(value, bytes):
            return value.decode()
        return member(value, single=True) if isinstance(value, float) else value

    return json.dumps([plain(value) for value in values], ensure_ascii=False)


def _as_text(column: pa.Array) -> pa.Array:
    """Bytes as text if they are UTF-8, because categories and keys are text."""
    if not pa.types.is_binary(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return column
