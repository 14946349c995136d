"""Prepared rows that are kept for the next epochs: in memory, or on local disk as records of one fixed width."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.train.examples import Split
from headrace.components.train.records import BLOCK_ROWS, Rows, reading


@dataclass(frozen=True)
class Columns:
    """Rows held in memory.

    Attributes:
        features: by name, [rows, ...].
        labels: [rows].
        rows: how many.
    """

    features: Mapping[str, Any]
    labels: Any
    rows: int


class Packed:
    """Rows in memory whose 32-bit values lie side by side: a row is taken from one place, not from one a column.

    Args:
        columns: what is kept; values of other widths, and strings, stay columns.
    """

    def __init__(self, columns: Columns) -> None:
        self._like = (columns.features, columns.labels)
        flat = tf.nest.flatten(self._like)
        self._narrow = [place for place, column in enumerate(flat) if column.dtype in (tf.float32, tf.int32)]
        self._widths = [int(np.prod(flat[place].shape[1:], dtype=np.int64)) for place in self._narrow]
        with tf.device("CPU:0"):
            pieces = [tf.bitcast(tf.reshape(flat[place], [columns.rows, -1]), tf.int32) for place in self._narrow]
            self._matrix = tf.concat(pieces, axis=1)
        self._others = {place: column for place, column in enumerate(flat) if place not in self._narrow}
        self._like = tf.nest.map_structure(lambda c: tf.TensorSpec([None, *c.shape[1:]], c.dtype), self._like)

    def gather(self, chosen: Any) -> Rows:
        """The rows of these numbers, in this order."""
        like = tf.nest.flatten(self._like)
        taken = {place: tf.gather(column, chosen) for place, column in self._others.items()}
        parts = tf.split(tf.gather(self._matrix, chosen), self._widths, axis=1)
        for place, part in zip(self._narrow, parts, strict=True):
            shape = [*chosen.shape, *like[place].shape[1:]]
            taken[place] = tf.reshape(tf.bitcast(part, like[place].dtype), shape)
        rows: Rows = tf.nest.pack_sequence_as(self._like, [taken[place] for place in range(len(like))])
        return rows


def load(blocks: Any, split: Split) -> Columns:
    """Reads every block into memory.

    Raises:
        DataError: a shard is damaged, or the rows are not as many as the manifest says.
    """
    with reading(split), tf.device("CPU:0"):
        read = list(blocks)
        features = {name: tf.concat([block[0][name] for block in read], axis=0) for name in read[0][0]}
        labels = tf.concat([block[1] for block in read], axis=0)
    rows = int(labels.shape[0])
    if rows != split.rows:
        raise _other_rows(split, rows)
    return Columns(features, labels, rows)


class Store(Protocol):
    """Where blocks of flattened rows are put, and rows taken from."""

    def put(self, number: int, columns: Sequence[Any]) -> None:
        """Keeps block `number`: 16,384 rows, but for the last."""

    def seal(self) -> None:
        """All blocks are there."""

    def take(self, chosen: Any) -> list[Any]:
        """The columns of these rows, in this order."""


class InMemory:
    """Blocks as they are, and columns once all are there."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[Any]] = {}
        self._columns: list[Any] = []

    def put(self, number: int, columns: Sequence[Any]) -> None:
        self._blocks[number] = list(columns)

    def seal(self) -> None:
        order = sorted(self._blocks)
        with tf.device("CPU:0"):
            for column in range(len(self._blocks[order[0]])):
                self._columns.append(tf.concat([self._blocks[number][column] for number in order], axis=0))
                # Blocks and columns together are twice the rows: each column's pieces go when it stands.
                for number in order:
                    self._blocks[number][column] = None
        self._blocks.clear()

    def take(self, chosen: Any) -> list[Any]:
        with tf.device("CPU:0"):
            return [tf.gather(column, chosen) for column in self._columns]


class OnDisk:
    """A file without a name, which goes when the process does, of one record of fixed width a row.

    Strings are kept as numbers; each different one is in memory once.

    Args:
        specification: of the flattened columns, [None, ...] each.
        rows: how many there will be.
        folder: where the file is; the system's own for temporary files by default.
    """

    def __init__(self, specification: Sequence[Any], rows: int, folder: str | None = None) -> None:
        self._strings: dict[int, dict[bytes, int]] = {
            place: {} for place, column in enumerate(specification) if column.dtype == tf.string
        }
        self._tables: dict[int, Any] = {}
        fields = [
            (f"f{place}", np.int32 if place in self._strings else column.dtype.as_numpy_dtype, tuple(column.shape[1:]))
            for place, column in enumerate(specification)
        ]
        self._file = tempfile.TemporaryFile(prefix="headrace-", dir=folder)  # noqa: SIM115 - as long as the store
        self._records = np.memmap(self._file, np.dtype(fields), "w+", shape=(rows,))

    def put(self, number: int, columns: Sequence[Any]) -> None:
        begin = number * BLOCK_ROWS
        for place, column in enumerate(columns):
            values = self._numbers(place, column.numpy()) if place in self._strings else column.numpy()
            self._records[f"f{place}"][begin : begin + len(values)] = values

    def seal(self) -> None:
        self._tables = {place: tf.constant(list(known)) for place, known in self._strings.items()}

    def take(self, chosen: Any) -> list[Any]:
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


class Filling:
    """A store that fills while the first epoch passes by, and then answers for it.

    Args:
        store: where rows are kept.
        like: a structure of tensors or specifications: what a block of rows is.
        split: what is read; its rows are counted.
        read: numbers of blocks that are there -> (number, rows) of the others.
    """

    def __init__(self, store: Store, like: Any, split: Split, read: Callable[[set[int]], Iterable[Any]]) -> None:
        self._store, self._like, self._split, self._read = store, like, split, read
        self._lock = threading.Lock()
        self._there: dict[int, int] = {}
        self._sealed = False

    def keep(self, number: Any, rows: Rows) -> None:
        """In a dataset's function: keeps a block."""
        tf.py_function(self._keep, [number, *tf.nest.flatten(rows)], Tout=[])

    def gather(self, chosen: Any) -> Rows:
        """In a dataset's function: the rows of these numbers; the first call reads what did not pass by."""
        like = tf.nest.flatten(self._like)
        taken = tf.py_function(self._gather, [chosen], Tout=[column.dtype for column in like])
        for tensor, column in zip(taken, like, strict=True):
            tensor.set_shape([*chosen.shape, *column.shape[1:]])
        rows: Rows = tf.nest.pack_sequence_as(self._like, taken)
        return rows

    def complete(self) -> None:
        """Reads what did not pass by.

        Raises:
            DataError: a shard is damaged, or the rows are not as many as the manifest says.
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

    def _gather(self, chosen: Any) -> list[Any]:
        self.complete()
        return self._store.take(chosen)


def _other_rows(split: Split, rows: int) -> DataError:
    return DataError(
        "the shards do not hold the rows of their manifest",
        where=", ".join(split.files[:1]),
        expected=f"{split.rows} rows",
        received=f"{rows} rows",
        fix="Run `headrace preprocess` again",
    )
