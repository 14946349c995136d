"""Row cache: prepared rows stored for the next epochs, in memory or on local disk as records of fixed width."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from headrace.components.train.input.examples import Split
from headrace.components.train.input.packed_rows import Packing
from headrace.components.train.input.records import BLOCK_ROWS, Rows, reading
from headrace.core.errors import DataError


def load(blocks: Any, split: Split) -> Rows:
    """All rows of a dataset of blocks, in memory.

    Raises:
        DataError: a shard is damaged, or the number of rows differs from the manifest.
    """
    with reading(split), tf.device("CPU:0"):
        rows: Rows = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)
    count = int(rows[1].shape[0])
    if count != split.rows:
        raise _other_rows(split, count)
    return rows


class Store(Protocol):
    """Storage of blocks of flattened rows, from which rows are gathered."""

    def put(self, number: int, columns: Sequence[Any]) -> None:
        """Stores block `number`: 16,384 rows, except for the last block."""

    def seal(self) -> None:
        """Completes the storage after all blocks are stored."""

    def gather(self, chosen: Any) -> Any:
        """In a dataset's function, after all blocks are stored: the rows with these numbers, in this order."""


class InMemory:
    """Blocks in memory, packed after all are stored.

    Args:
        like: specification of a block of rows.
    """

    def __init__(self, like: Any) -> None:
        self._packing = Packing(like)
        self._blocks: dict[int, list[Any]] = {}
        # A dataset is traced before there are rows: it reads the variables that are assigned later.
        with tf.device("CPU:0"):
            self._packed = [
                tf.Variable(tf.zeros([0, *spec.shape[1:]], spec.dtype), shape=spec.shape, trainable=False)
                for spec in self._packing.packed
            ]

    def put(self, number: int, columns: Sequence[Any]) -> None:
        self._blocks[number] = list(columns)

    def seal(self) -> None:
        with tf.device("CPU:0"):
            for variable, value in zip(self._packed, self._packing.pack(self._columns()), strict=True):
                variable.assign(value)
        self._blocks.clear()

    def gather(self, chosen: Any) -> Any:
        return self._packing.gather(self._packed, chosen)

    def _columns(self) -> Iterator[Any]:
        """Joins each column, and then releases its pieces, because both together use twice the memory."""
        order = sorted(self._blocks)
        for place in range(len(self._blocks[order[0]])):
            yield tf.concat([self._blocks[number][place] for number in order], axis=0)
            for number in order:
                self._blocks[number][place] = None


class OnDisk:
    """An unlinked file, removed when the process ends, with one record of fixed width per row.

    Strings are stored as numbers; each distinct string is in memory once.

    Args:
        like: specification of a block of rows.
        rows: number of rows.
        folder: the file's folder; by default the system's folder for temporary files.
    """

    def __init__(self, like: Any, rows: int, folder: str | None = None) -> None:
        self._like, specification = like, tf.nest.flatten(like)
        self._strings: dict[int, dict[bytes, int]] = {
            place: {} for place, column in enumerate(specification) if column.dtype == tf.string
        }
        self._tables: dict[int, Any] = {}
        fields = [
            (f"f{place}", np.int32 if place in self._strings else column.dtype.as_numpy_dtype, tuple(column.shape[1:]))
            for place, column in enumerate(specification)
        ]
        # A mapping exists until nothing refers to it.
        with tempfile.TemporaryFile(prefix="headrace-", dir=folder) as file:
            self._records = np.memmap(file, np.dtype(fields), "w+", shape=(rows,))

    def put(self, number: int, columns: Sequence[Any]) -> None:
        begin = number * BLOCK_ROWS
        for place, column in enumerate(columns):
            values = self._numbers(place, column.numpy()) if place in self._strings else column.numpy()
            self._records[f"f{place}"][begin : begin + len(values)] = values

    def seal(self) -> None:
        self._tables = {place: tf.constant(list(known)) for place, known in self._strings.items()}

    def gather(self, chosen: Any) -> Any:
        like = tf.nest.flatten(self._like)
        taken = tf.py_function(self._take, [chosen], Tout=[column.dtype for column in like])
        for tensor, column in zip(taken, like, strict=True):
            tensor.set_shape([*chosen.shape, *column.shape[1:]])
        return tf.nest.pack_sequence_as(self._like, taken)

    def _take(self, chosen: Any) -> list[Any]:
        records = np.take(self._records, np.asarray(chosen))
        columns = [tf.convert_to_tensor(np.ascontiguousarray(records[name])) for name in records.dtype.names or ()]
        with tf.device("CPU:0"):
            return [
                tf.gather(self._tables[place], column) if place in self._tables else column
                for place, column in enumerate(columns)
            ]

    def _numbers(self, place: int, values: Any) -> Any:
        known = self._strings[place]
        flat = [known.setdefault(value, len(known)) for value in values.ravel().tolist()]
        return np.array(flat, np.int32).reshape(values.shape)


class CacheFill:
    """A store that is filled during the first epoch, and read from then on.

    Args:
        store: the storage of the rows.
        split: the split; its rows are counted.
        read: numbers of stored blocks -> (number, rows) of the others.
    """

    def __init__(self, store: Store, split: Split, read: Callable[[set[int]], Iterable[Any]]) -> None:
        self._store, self._split, self._read = store, split, read
        self._lock = threading.Lock()
        self._there: dict[int, int] = {}
        self._sealed = False

    def keep(self, number: Any, rows: Rows) -> None:
        """In a dataset's function: stores a block."""
        tf.py_function(self._keep, [number, *tf.nest.flatten(rows)], Tout=[])

    def gather(self, chosen: Any) -> Rows:
        """In a dataset's function: the rows with these numbers, which `once_complete` yielded."""
        rows: Rows = self._store.gather(chosen)
        return rows

    def once_complete(self, numbers: Any) -> Any:
        """A dataset of row numbers that starts when all rows are stored; blocks missed by the first epoch are read."""

        def complete(number: Any) -> Any:
            tf.py_function(self.complete, [], Tout=[])
            return number

        return tf.data.Dataset.range(1).map(complete).flat_map(lambda _: numbers)

    def complete(self) -> None:
        """Reads the blocks that the first epoch missed.

        Raises:
            DataError: a shard is damaged, or the number of rows differs from the manifest.
        """
        with self._lock:
            if self._sealed:
                return
            with reading(self._split):
                for number, rows in self._read(set(self._there)):
                    self._put(int(number), tf.nest.flatten(rows))
            found = sum(self._there.values())
            if found != self._split.rows:
                raise _other_rows(self._split, found)
            self._store.seal()
            self._sealed = True

    def _keep(self, number: Any, *columns: Any) -> None:
        with self._lock:
            if not self._sealed and int(number) not in self._there:
                self._put(int(number), columns)

    def _put(self, number: int, columns: Sequence[Any]) -> None:
        self._store.put(number, columns)
        self._there[number] = int(columns[-1].shape[0])


def _other_rows(split: Split, rows: int) -> DataError:
    return DataError(
        "the shards do not hold the rows of their manifest",
        where=", ".join(split.files[:1]),
        expected=f"{split.rows} rows",
        received=f"{rows} rows",
        fix="Run `headrace preprocess` again",
    )
