"""Row-wise concatenation of bytes without a loop over rows: parts are tables of bytes, indexed by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_NONE = np.zeros(1, np.int64)
_NO_CODE = np.zeros(1, np.int32)
# Lengths up to this are looked up in a table; longer ones are sorted, which takes more time and less memory.
_TABLE_LENGTHS = 1 << 16


@dataclass(frozen=True)
class DictionaryPiece:
    """A piece of each row: an index into a table of bytes.

    Attributes:
        content: the entries, concatenated.
        lengths: of the entries.
        codes: for each row, the number of its entry, from 1; 0 for no piece.
    """

    content: Bytes
    lengths: Integers
    codes: Codes

    @classmethod
    def of_rows(cls, content: Bytes, lengths: Integers, absent: Mask | None = None) -> DictionaryPiece:
        """A part in which each row has an entry of its own, except absent ones."""
        codes = np.arange(1, len(lengths) + 1, dtype=np.int32)
        return cls(content, lengths, codes).without(absent)

    @classmethod
    def by_length(cls, lengths: Integers, render: Callable[[int], bytes]) -> DictionaryPiece:
        """A part of `render(length)` for each row, called once per distinct length."""
        largest = int(lengths.max(initial=0))
        if largest <= _TABLE_LENGTHS:
            distinct = np.flatnonzero(np.bincount(lengths, minlength=1))
            numbers = np.zeros(largest + 1, np.int32)
            numbers[distinct] = np.arange(1, len(distinct) + 1)
            codes = numbers[lengths]
        else:
            distinct, places = np.unique(lengths, return_inverse=True)
            codes = (places + 1).astype(np.int32)
        rendered = [render(length) for length in distinct.tolist()]
        content = np.frombuffer(b"".join(rendered), np.uint8)
        return cls(content, np.fromiter(map(len, rendered), np.int64, len(rendered)), codes)

    def row_lengths(self) -> Integers:
        """Length of each row's piece."""
        return np.concatenate([_NONE, self.lengths]).take(self.codes)

    def chosen(self, rows: Codes) -> DictionaryPiece:
        """The part of selected rows, by their numbers in this one, from 1; 0 for no piece.

        A number out of range, as may lie under a null, selects an arbitrary row.
        """
        return DictionaryPiece(
            self.content, self.lengths, np.concatenate([_NO_CODE, self.codes]).take(rows, mode="clip")
        )

    def without(self, absent: Mask | None) -> DictionaryPiece:
        """The part without a piece in absent rows."""
        if absent is None:
            return self
        return DictionaryPiece(self.content, self.lengths, np.where(absent, np.int32(0), self.codes))


class Pieces:
    """The concatenated pieces of each row, for any range of rows.

    Args:
        parts: at least one, all with the same number of rows.
    """

    def __init__(self, parts: Sequence[DictionaryPiece]) -> None:
        content = np.concatenate([part.content for part in parts])
        # An empty entry precedes the entries of each part, for the rows without a piece.
        lengths = np.concatenate([array for part in parts for array in (_NONE, part.lengths)])
        offsets = bounds(lengths)
        self._table = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        )
        self._codes = [part.codes for part in parts]
        self._bases = np.cumsum([0, *(len(part.lengths) + 1 for part in parts)]).tolist()

    def take(self, start: int, stop: int, more: Sequence[int] = ()) -> pa.LargeBinaryArray:
        """The pieces of the rows from `start` to `stop`, one value for each row and part, copied by one call into C++.

        Args:
            start, stop: bounds of the rows.
            more: numbers of the first part's entries, from 1, that follow the last row.
        """
        width, size = len(self._codes), (stop - start) * len(self._codes)
        places = np.empty(size + len(more), np.int32 if len(self._table) < 1 << 31 else np.int64)
        by_row = places[:size].reshape(-1, width)
        for number, (codes, base) in enumerate(zip(self._codes, self._bases, strict=False)):
            np.add(codes[start:stop], base, out=by_row[:, number])
        places[size:] = more
        return self._table.take(pa.array(places))


def join(parts: Sequence[DictionaryPiece], rows: int) -> pa.LargeBinaryArray:
    """Concatenates the pieces of each row into one value."""
    pieces = Pieces(parts).take(0, rows)
    bounds = np.ascontiguousarray(offsets_of(pieces)[:: len(parts)])
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), rows, [None, pa.py_buffer(bounds), data_of(pieces)])


def bounds(lengths: Integers) -> Integers:
    """Bounds of concatenated entries of these lengths: [n + 1], from 0."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def data_of(array: pa.LargeBinaryArray) -> pa.Buffer:
    """The data buffer of an array, which may hold more than its values."""
    data = array.buffers()[2]
    return data if data is not None else pa.py_buffer(b"")


def offsets_of(array: pa.LargeBinaryArray) -> Integers:
    """The n + 1 offsets of an array's values in its data buffer; null and empty values have length 0."""
    if len(array) == 0:
        return np.zeros(1, np.int64)
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, np.int64, count=len(array) + 1, offset=array.offset * 8)


def contents(column: pa.LargeBinaryArray) -> tuple[Bytes, Integers]:
    """The concatenated bytes of a column's values, and the values' lengths, including values under nulls."""
    offsets = offsets_of(column)
    first, last = int(offsets[0]), int(offsets[-1])
    return np.frombuffer(data_of(column), np.uint8)[first:last], np.diff(offsets)
