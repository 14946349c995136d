"""Packed rows: the numbers of a row are contiguous in memory, so a row is read from one place, not one per column."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.core.tfrecord import native

# The cache line of common processors: TensorFlow uses an aligned array as it is, and copies any other.
_ALIGNED_BYTES = 64
_SHORT = np.dtype(np.uint16)


class PackedColumn(NamedTuple):
    """Type and shape of a column: its value per row has `shape`, () for one number."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Field(ctypes.Structure):
    _fields_ = (
        ("offset", ctypes.c_int64),
        ("bytes", ctypes.c_int64),
        ("is_short", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("out", ctypes.c_void_p),
    )


class PackedRows:
    """A table of rows of numbers in contiguous memory.

    Memory access dominates the cost of gathering random rows. Integers of 32 bits are therefore stored in 16 bits while
    all of a column's values fit: most indices into vocabularies and crosses do.

    Args:
        columns: the columns of a row.
        rows: number of rows.
        file: an open file that holds the table; None for main memory.
    """

    def __init__(self, columns: Sequence[PackedColumn], rows: int, file: Any = None) -> None:
        self._columns = list(columns)
        self._compiled = native.library()
        self._filled: list[slice] = []
        # The width of a table in a file does not change.
        self._dtypes = [_SHORT if file is None and c.dtype == np.int32 else c.dtype for c in self._columns]
        packed = self._packed()
        self._table: npt.NDArray[Any] = (
            np.empty(rows, packed) if file is None else np.memmap(file, packed, "w+", shape=(rows,))
        )

    def put(self, begin: int, columns: Sequence[npt.NDArray[Any]]) -> None:
        """Stores consecutive rows.

        Args:
            begin: number of the first row.
            columns: [rows, ...] each.
        """
        if not columns:
            return
        for number, column in enumerate(columns):
            if self._dtypes[number] == _SHORT and len(column) and not 0 <= column.min() <= column.max() < 1 << 16:
                self._widen(number)
        rows = slice(begin, begin + len(columns[0]))
        for name, column in zip(self._names, columns, strict=True):
            self._table[name][rows] = column
        self._filled.append(rows)

    def gather(self, chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """The rows with these numbers, in this order: [n, ...] of each column.

        Args:
            chosen: [n] row numbers.

        Raises:
            IndexError: a number is not one of a row.
        """
        out = [_aligned(len(chosen), column) for column in self._columns]
        if self._compiled is None:
            taken = self._table[chosen]
            for name, array in zip(self._names, out, strict=True):
                array[:] = taken[name]
            return out
        fields = (_Field * len(out))()
        offset = 0
        for field, dtype, array in zip(fields, self._dtypes, out, strict=True):
            field.offset, field.bytes, field.out = (
                offset,
                dtype.itemsize * math.prod(array.shape[1:]),
                array.ctypes.data,
            )
            field.is_short = int(dtype == _SHORT)
            offset += field.bytes
        chosen = np.ascontiguousarray(chosen, np.int64)
        place, width = self._table.ctypes.data, self._table.itemsize
        done = self._compiled.headrace_gather(
            place, width, len(self._table), chosen.ctypes.data, len(chosen), fields, len(out)
        )
        if done < len(chosen):
            raise IndexError(f"row {chosen[done]} of {len(self._table)}")
        return out

    @property
    def row_bytes(self) -> int:
        """Size of a row in the table, in bytes."""
        return int(self._table.itemsize)

    @property
    def _names(self) -> list[str]:
        return [f"f{number}" for number in range(len(self._columns))]

    def _packed(self) -> np.dtype[Any]:
        return np.dtype(
            [(name, d, c.shape) for name, d, c in zip(self._names, self._dtypes, self._columns, strict=True)]
        )

    def _widen(self, number: int) -> None:
        """Stores an integer column in 32 bits from now on."""
        self._dtypes[number] = self._columns[number].dtype
        narrow, self._table = self._table, np.empty(len(self._table), self._packed())
        # Rows that are not stored yet use no memory.
        for rows in self._filled:
            for name in self._names:
                self._table[name][rows] = narrow[name][rows]


def _aligned(rows: int, column: PackedColumn) -> npt.NDArray[Any]:
    shape = (rows, *column.shape)
    size = math.prod(shape) * column.dtype.itemsize
    content = np.empty(size + _ALIGNED_BYTES, np.uint8)
    begin = -content.ctypes.data % _ALIGNED_BYTES
    return content[begin : begin + size].view(column.dtype).reshape(shape)
