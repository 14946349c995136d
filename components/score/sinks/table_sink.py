"""Lookup table sink: one LMDB file, built from sorted keys, for serving predictions without a model.

The database "predictions" maps the key's text to a JSON object of the outputs. In the database "about", the key
`headrace` holds the description of the table as JSON.
"""

from __future__ import annotations

import bisect
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import google_crc32c
import lmdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.score.sinks.json_text import json_objects
from headrace.components.score.sinks.sink import ROW_NUMBER, BlockWriter, PendingFile, Published, Sink
from headrace.core import storage
from headrace.core.artifacts.examples import Shard
from headrace.core.errors import DataError, PlatformError
from headrace.core.values.columns import as_text

FILE = "table/predictions.lmdb"
_PREDICTIONS, _ABOUT, _HEADRACE = b"predictions", b"about", b"headrace"
# LMDB's limit.
MAX_KEY_BYTES = 511
# Rows per run, which is sorted in memory and written to one file.
_RUN_ROWS = 1 << 19
# Rows of each run that are in memory while runs are merged.
_MERGE_ROWS = 8192
# Rows per transaction: its changes are in memory until it ends.
_TRANSACTION_ROWS = 1 << 17
# A page has 4 KiB and is filled completely by keys in order; interior pages and last pages add little.
_ROOM = 1 << 26
_MODEL_VERSION = "model_version"

_RUN = pa.schema([("key", pa.large_binary()), ("value", pa.large_binary()), ("part", pa.int64()), ("row", pa.int64())])
_REJECTED = pa.schema(
    {"part": pa.int64(), "row": pa.int64(), "key": pa.large_binary(), "bytes": pa.int64()}
    | {"first_part": pa.int64(), "first_row": pa.int64()}
)


@dataclass(frozen=True)
class TableSink(Sink):
    """One LMDB file.

    Attributes:
        key: the column that identifies a row.
        about: the description of the table.
    """

    key: str
    about: dict[str, Any] = field(default_factory=dict)
    ending: ClassVar[str] = "arrow"
    block_rows: ClassVar[int] = _RUN_ROWS
    numbered: ClassVar[bool] = True

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a run."""
        return _RunWriter(file, self.key)

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> Published:
        """Merges the runs into the table. Of several rows with one key, the first is stored."""
        total = sum(file.rows for file in waiting)
        with storage.open_output(storage.join(folder, FILE)) as output, tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "predictions.lmdb"
            runs = [(file.part, storage.join(folder, file.file)) for file in waiting]
            # An upper bound of the table's size; the map uses only the disk space that is written.
            room = 4 * sum(file.bytes for file in waiting) + 256 * total + _ROOM
            try:
                rows, rejected = _build(path, _merged(runs), self.about, room)
            except lmdb.Error as error:
                raise PlatformError("the lookup table cannot be built", where=folder, received=str(error)) from error
            crc = 0
            with path.open("rb") as built:
                while chunk := built.read(1 << 22):
                    crc = google_crc32c.extend(crc, chunk)
                    output.write(chunk)
            size = path.stat().st_size
        return Published((Shard(FILE, rows, size, f"{crc:08x}"),), rows, rejected=rejected)


class _RunWriter:
    """Writes one block, sorted by its key."""

    def __init__(self, file: BinaryIO, key: str) -> None:
        self._file = file
        self._key = key

    def write(self, block: pa.RecordBatch) -> None:
        keys = as_text(block.column(self._key)).cast(pa.large_string()).cast(pa.large_binary())
        outputs = [name for name in block.schema.names if name not in (ROW_NUMBER, self._key, _MODEL_VERSION)]
        values = json_objects(block.select(outputs)).cast(pa.large_binary())
        order = pc.sort_indices(keys)
        run = pa.RecordBatch.from_arrays(
            [keys, values, pa.nulls(block.num_rows, pa.int64()), block.column(ROW_NUMBER)], schema=_RUN
        ).take(order)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(self._file, _RUN, options=options) as stream:
            for begin in range(0, run.num_rows, _MERGE_ROWS):
                stream.write_batch(run.slice(begin, _MERGE_ROWS))

    def close(self) -> None:
        pass


class _Run:
    """A sorted run during the merge: its rows in memory."""

    def __init__(self, part: int, file: BinaryIO) -> None:
        self._part = part
        self._stream = pa.ipc.open_stream(file)
        self.rows = self._next()

    def _next(self) -> pa.RecordBatch | None:
        try:
            batch = self._stream.read_next_batch()
        except StopIteration:
            return None
        return batch.set_column(2, _RUN.field("part"), pa.array(np.full(batch.num_rows, self._part)))

    def up_to(self, bound: bytes) -> pa.RecordBatch | None:
        """Removes and returns the rows in memory with keys up to `bound`."""
        rows = self.rows
        if rows is None or _key(rows, 0) > bound:
            return None
        end = bisect.bisect_right(range(rows.num_rows), bound, key=lambda row: _key(rows, row))
        self.rows = rows.slice(end) if end < rows.num_rows else self._next()
        return rows.slice(0, end)


def _key(rows: pa.RecordBatch, row: int) -> bytes:
    key: bytes = rows.column(0)[row].as_py()
    return key


def _merged(runs: Sequence[tuple[int, str]]) -> Iterator[pa.RecordBatch]:
    """The rows of all runs in the order of keys; rows with one key are in the order of parts and rows.

    Some rows of each run are in memory. Rows up to the minimum of their last keys are complete: the rows still in files
    have larger keys, except further rows with that key, which are later rows of a run already read.
    """
    with ExitStack() as stack:
        alive = [_Run(part, stack.enter_context(storage.open_input(uri))) for part, uri in runs]
        while alive := [run for run in alive if run.rows is not None]:
            bound = min(_key(run.rows, run.rows.num_rows - 1) for run in alive if run.rows is not None)
            taken = [rows for run in alive if (rows := run.up_to(bound)) is not None]
            (rows,) = pa.Table.from_batches(taken).combine_chunks().to_batches()
            yield rows.take(pc.sort_indices(rows, [(name, "ascending") for name in ("key", "part", "row")]))


def _build(
    path: Path, merged: Iterator[pa.RecordBatch], about: dict[str, Any], room: int
) -> tuple[int, pa.Table | None]:
    """Writes the table; returns its number of rows, and the rows that it cannot hold."""
    rejected: list[pa.RecordBatch] = []
    rows = 0
    with _opened(path, map_size=room, max_dbs=2, sync=False) as environment:
        predictions = environment.open_db(_PREDICTIONS)
        for batch in _placed(merged, rejected):
            # The changes of a transaction are in memory until it ends.
            for begin in range(0, batch.num_rows, _TRANSACTION_ROWS):
                part = batch.slice(begin, _TRANSACTION_ROWS)
                with environment.begin(write=True, db=predictions) as transaction:
                    pairs = zip(part.column("key").to_pylist(), part.column("value").to_pylist(), strict=True)
                    _, added = transaction.cursor().putmulti(pairs, append=True)
                rows += added
        with environment.begin(write=True, db=environment.open_db(_ABOUT)) as transaction:
            transaction.put(_HEADRACE, json.dumps({**about, "rows": rows}, sort_keys=True).encode())
        environment.sync(True)
    return rows, pa.Table.from_batches(rejected, _REJECTED) if rejected else None


def _placed(merged: Iterator[pa.RecordBatch], rejected: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows to store: the first of each key that is not too long; the others are rejected."""
    before = pa.RecordBatch.from_pylist([], _RUN)
    for batch in merged:
        # The next rows may have the last key too: its first row is compared with them.
        (rows,) = pa.Table.from_batches([before, batch]).combine_chunks().to_batches()
        keys = rows.column("key")
        again = np.zeros(rows.num_rows, np.bool_)
        again[1:] = pc.equal(keys.slice(1), keys.slice(0, len(keys) - 1)).to_numpy(zero_copy_only=False)
        lengths = pc.binary_length(keys).to_numpy()
        bad = again | (lengths > MAX_KEY_BYTES)
        bad[: before.num_rows] = False
        first = np.maximum.accumulate(np.where(again, 0, np.arange(rows.num_rows)))
        if bad.any():
            rejected.append(_rejected(rows, first, lengths, bad))
        bad[: before.num_rows] = True
        before = rows.slice(int(first[-1]), 1)
        yield rows.filter(pa.array(~bad))


def _rejected(
    rows: pa.RecordBatch, first: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_]
) -> pa.RecordBatch:
    at, origin = pa.array(np.flatnonzero(bad)), pa.array(first[bad])
    columns = [rows.column(name).take(at) for name in ("part", "row", "key")]
    columns += [pa.array(lengths[bad], pa.int64()), *(rows.column(name).take(origin) for name in ("part", "row"))]
    return pa.RecordBatch.from_arrays(columns, schema=_REJECTED)


class PredictionTable:
    """Reader of a lookup table; safe to use from several threads and processes at a time."""

    def __init__(self, path: str | Path) -> None:
        """Opens a table.

        Raises:
            DataError: the file is not a table of predictions.
        """
        self._stack = ExitStack()
        try:
            self._environment = self._stack.enter_context(_opened(path, readonly=True, max_dbs=2))
            self._predictions = self._environment.open_db(_PREDICTIONS, create=False)
            with self._environment.begin(db=self._environment.open_db(_ABOUT, create=False)) as transaction:
                self.about: dict[str, Any] = json.loads(transaction.get(_HEADRACE, b""))
        except (lmdb.Error, TypeError, ValueError) as error:
            self._stack.close()
            raise DataError("the file is not a table of predictions", where=str(path), received=str(error)) from error

    def get(self, key: str) -> bytes | None:
        """The prediction of a key as a JSON object in UTF-8; None if the key is not in the table."""
        content = key.encode()
        if not 0 < len(content) <= MAX_KEY_BYTES:
            return None
        with self._environment.begin(db=self._predictions) as transaction:
            prediction: bytes | None = transaction.get(content)
        return prediction

    def __len__(self) -> int:
        return int(self.about["rows"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


@contextmanager
def _opened(path: str | Path, **options: Any) -> Iterator[lmdb.Environment]:
    # A published table is never written, so readers need no lock table, which would be a second file.
    environment = lmdb.open(str(path), subdir=False, lock=False, **options)
    try:
        yield environment
    finally:
        environment.close()
