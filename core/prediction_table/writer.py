"""Table writer: collects keys and outputs in temporary files, sorts the keys' hashes, and writes the table."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.prediction_table.layout import ALIGNMENT, MAGIC, MAX_ROWS, Footer, TableColumn, TableDescription

_CHUNK = 4 << 20
# Hashes and rows are separated from the sorted pairs in pieces of this number.
_PIECE = 1 << 20
# A pair is a key's hash in the upper 32 bits, and its row in the lower ones.
_BITS, _ROW = np.uint64(32), np.uint64(MAX_ROWS)

Ends = npt.NDArray[np.int64]


class Output(Protocol):
    """A file to write to."""

    def write(self, content: bytes, /) -> int: ...


@dataclass(frozen=True)
class ColumnValues:
    """Values of a column for some rows.

    Attributes:
        flat: numbers of the column's dtype, [values]; or the bytes of texts, one after the other.
        ends: of texts or bytes, [values]: where each ends in `flat`.
        list_ends: of lists of any length, [rows]: where each ends among the values.
    """

    flat: npt.NDArray[Any] | bytes
    ends: Ends | None = None
    list_ends: Ends | None = None


@dataclass(frozen=True)
class RepeatedKeys:
    """Rows whose key an earlier row has.

    Attributes:
        rows: [n] their numbers, from 0, ascending.
        first: [n] the first row with that key.
    """

    rows: Ends
    first: Ends

    def __len__(self) -> int:
        return len(self.rows)


class TableWriter:
    """Writes one table; memory is 8 bytes per row, besides the rows of one call. Used as a context.

    Args:
        columns: the outputs, in any order.
    """

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        self.columns = tuple(sorted(columns, key=lambda column: column.name))
        self.rows = 0
        self._stack = ExitStack()
        self._parts: dict[str, _Part] = {}
        self._hashes: list[npt.NDArray[np.uint32]] = []
        self._index: npt.NDArray[np.uint64] | None = None

    def __enter__(self) -> Self:
        for name in ("keys", "key_ends"):
            self._add_part(name)
        for column in self.columns:
            self._add_part(column.section("values"))
            if column.kind != "number":
                self._add_part(column.section("ends"))
            if column.width == 0:
                self._add_part(column.section("list_ends"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _add_part(self, name: str) -> None:
        # The file has no name, so a killed writer leaves nothing.
        file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._parts[name] = _Part(file)

    def add(self, keys: Sequence[bytes], values: Mapping[str, ColumnValues]) -> None:
        """Adds rows.

        Args:
            keys: [rows] in UTF-8.
            values: of each column, for these rows.

        Raises:
            DataError: there are too many rows.
        """
        if self.rows + len(keys) > MAX_ROWS:
            raise DataError("the table has too many rows", expected=f"at most {MAX_ROWS:,} rows")
        self._hashes.append(np.fromiter(map(zlib.crc32, keys), np.uint32, len(keys)))
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        self._parts["key_ends"].write_ends(np.cumsum(lengths) + self._parts["keys"].bytes)
        self._parts["keys"].write(b"".join(keys))
        for column in self.columns:
            given, part = values[column.name], self._parts[column.section("values")]
            if given.list_ends is not None:
                self._parts[column.section("list_ends")].write_ends(given.list_ends + self._items(column))
            if given.ends is not None:
                self._parts[column.section("ends")].write_ends(given.ends + part.bytes)
            part.write(given.flat if isinstance(given.flat, bytes) else given.flat.astype(column.stored, copy=False))
        self.rows += len(keys)

    def _items(self, column: TableColumn) -> int:
        """Number of values of a column so far."""
        if column.kind == "number":
            return self._parts[column.section("values")].bytes // np.dtype(column.stored).itemsize
        return self._parts[column.section("ends")].bytes // 8

    def repeated(self) -> RepeatedKeys:
        """Sorts the keys, and returns the rows whose key an earlier row has; they get no entry in the table."""
        pairs = np.concatenate(self._hashes or [np.empty(0, np.uint32)]).astype(np.uint64) << _BITS
        self._hashes.clear()
        pairs |= np.arange(len(pairs), dtype=np.uint64)
        pairs.sort()
        rows, first = array("q"), array("q")
        same = np.flatnonzero((pairs[1:] >> _BITS) == (pairs[:-1] >> _BITS))
        if len(same):
            kept = np.ones(len(pairs), np.bool_)
            for begin, end in _runs(same):
                found: dict[bytes, int] = {}
                for row in (pairs[begin:end] & _ROW).tolist():
                    key = self._key(row)
                    if found.setdefault(key, row) != row:
                        rows.append(row)
                        first.append(found[key])
                pairs[begin : begin + len(found)] = (pairs[begin] & ~_ROW) | np.array(
                    [found[key] for key in sorted(found)], np.uint64
                )
                kept[begin + len(found) : end] = False
            pairs = pairs[kept]
        self._index = pairs
        order = np.argsort(np.frombuffer(rows, np.int64))
        return RepeatedKeys(np.frombuffer(rows, np.int64)[order], np.frombuffer(first, np.int64)[order])

    def save(self, output: Output, about: TableDescription) -> Footer:
        """Writes the table.

        Args:
            output: an empty file, which is only written to.
            about: what the predictions are.
        """
        if self._index is None:
            self.repeated()
        index = self._index
        assert index is not None
        file = _Hashed(output)
        file.write(MAGIC)
        sections: dict[str, tuple[int, int]] = {}

        def section(name: str, pieces: Iterator[bytes]) -> None:
            file.write(bytes(-file.bytes % ALIGNMENT))
            begin = file.bytes
            for piece in pieces:
                file.write(piece)
            sections[name] = (begin, file.bytes - begin)

        section("hashes", ((index[i : i + _PIECE] >> _BITS).astype("<u4").tobytes() for i in _steps(index)))
        section("rows", (index[i : i + _PIECE].astype("<u4").tobytes() for i in _steps(index)))
        for name, part in self._parts.items():
            section(name, part.pieces())
        footer = Footer(self.rows, len(index), self.columns, sections, file.digest, about)
        output.write(footer.to_bytes())
        return footer

    def key(self, row: int) -> str:
        """The key of a row."""
        return self._key(row).decode()

    def _key(self, row: int) -> bytes:
        keys, ends = self._parts["keys"].mapped(np.dtype("|u1")), self._parts["key_ends"].mapped(np.dtype("<u8"))
        return keys[int(ends[row - 1]) if row else 0 : int(ends[row])].tobytes()


class _Part:
    """A section in progress, in a temporary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._mapped: npt.NDArray[Any] | None = None
        self.bytes = 0

    def write(self, content: bytes | npt.NDArray[Any]) -> None:
        plain = content if isinstance(content, bytes) else content.tobytes()
        self._file.write(plain)
        self.bytes += len(plain)

    def write_ends(self, ends: Ends) -> None:
        self.write(ends.astype("<u8"))

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_CHUNK):
            yield piece

    def mapped(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The section as an array, after the last write."""
        if self._mapped is None:
            self._file.flush()
            self._mapped = np.memmap(self._file, dtype, "r") if self.bytes else np.empty(0, dtype)
        return self._mapped


class _Hashed:
    """A file that is measured while it is written."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, content: bytes) -> None:
        self._output.write(content)
        self._sha256.update(content)
        self.bytes += len(content)

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()


def _steps(index: npt.NDArray[Any]) -> range:
    return range(0, len(index), _PIECE)


def _runs(same: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of entries of one hash; `same` are the entries whose successor has the same hash."""
    breaks = np.flatnonzero(np.diff(same) != 1)
    begins = same[np.concatenate([[0], breaks + 1])]
    ends = same[np.concatenate([breaks, [len(same) - 1]])] + 2
    yield from zip(begins.tolist(), ends.tolist(), strict=True)
