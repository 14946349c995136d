"""Row cache: prepared rows stored for the next epochs, in memory or on local disk as records of fixed width."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.components.train.input.packed_rows import PackedColumn, PackedRows
from headrace.components.train.input.prepared_blocks import in_parallel
from headrace.components.train.input.records import BLOCK_ROWS


class RowCache:
    """Rows by number, stored block by block, and gathered when all blocks are stored. It is thread-safe.

    In memory strings are tensors. On disk they are numbers, and each distinct string is in memory once. The file is
    unlinked: it is removed when the process ends.

    Args:
        like: a structure of tf.TensorSpec, [None, ...] each, with the types and shapes of the rows.
        rows: number of rows.
        read: reads block `number`, and calls `keep` with it.
        on_disk: whether the rows are stored on disk.
        folder: the file's folder; by default the system's folder for temporary files.
    """

    def __init__(
        self,
        like: Any,
        rows: int,
        read: Callable[[int], Any],
        *,
        on_disk: bool = False,
        folder: str | None = None,
    ) -> None:
        self._rows, self._read = rows, read
        specification = tf.nest.flatten(like)
        self._strings: dict[int, _Strings | _NumberedStrings] = {
            place: _NumberedStrings() if on_disk else _Strings()
            for place, column in enumerate(specification)
            if column.dtype == tf.string
        }
        # Places of the columns that are in the table.
        self._packed = [place for place in range(len(specification)) if on_disk or place not in self._strings]
        columns = [
            PackedColumn(
                np.dtype(np.int32 if place in self._strings else specification[place].dtype.as_numpy_dtype),
                tuple(specification[place].shape[1:]),
            )
            for place in self._packed
        ]
        self._lock, self._completing = threading.Lock(), threading.Lock()
        self._stored: set[int] = set()
        self._complete = False
        if not on_disk:
            self._table = PackedRows(columns, rows)
            return
        # A mapping exists until nothing refers to it.
        with tempfile.TemporaryFile(prefix="headrace-", dir=folder) as file:
            self._table = PackedRows(columns, rows, file)

    def keep(self, number: int, columns: Sequence[Any]) -> None:
        """Stores block `number`, unless it is stored.

        Args:
            number: from 0; each block but the last one has 16,384 rows.
            columns: [rows, ...] each: arrays, and tensors of strings.
        """
        with self._lock:
            if number in self._stored:
                return
            numbers = {place: strings.put(number, columns[place]) for place, strings in self._strings.items()}
            packed: list[Any] = [numbers[place] if place in numbers else columns[place] for place in self._packed]
            self._table.put(number * BLOCK_ROWS, packed)
            self._stored.add(number)

    def complete(self) -> None:
        """Reads the blocks that are not stored yet.

        Raises:
            Exception: as raised by `read`.
        """
        with self._completing:
            if self._complete:
                return
            with self._lock:
                missing = [number for number in range(-(-self._rows // BLOCK_ROWS)) if number not in self._stored]
            for _ in in_parallel(self._read, missing):
                pass
            for strings in self._strings.values():
                strings.seal()
            self._complete = True

    def gather(self, chosen: npt.NDArray[np.int64]) -> list[Any]:
        """The columns of the rows with these numbers, in this order, after `complete`."""
        packed = dict(zip(self._packed, self._table.gather(chosen), strict=True))
        taken = {place: strings.gather(chosen, packed.get(place)) for place, strings in self._strings.items()}
        return [taken[place] if place in taken else packed[place] for place in sorted({*packed, *taken})]


class _Strings:
    """A column of strings in memory."""

    def __init__(self) -> None:
        self._blocks: dict[int, Any] = {}
        self._all: Any = None

    def put(self, number: int, column: Any) -> None:
        self._blocks[number] = column

    def seal(self) -> None:
        self._all = tf.concat([self._blocks[number] for number in sorted(self._blocks)], axis=0)
        self._blocks.clear()

    def gather(self, chosen: Any, _: Any) -> Any:
        return tf.gather(self._all, chosen)


class _NumberedStrings:
    """A column of strings as numbers, in the order in which they first occur."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._all: Any = None

    def put(self, _: int, column: Any) -> Any:
        values = column.numpy()
        flat = [self._known.setdefault(value, len(self._known)) for value in values.ravel().tolist()]
        return np.array(flat, np.int32).reshape(values.shape)

    def seal(self) -> None:
        self._all = tf.constant(list(self._known))

    def gather(self, _: Any, numbers: Any) -> Any:
        return tf.gather(self._all, numbers)
