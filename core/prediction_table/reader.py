"""Table reader: maps a prediction table into memory, verifies it, and looks up many keys per call."""

from __future__ import annotations

import bisect
import hashlib
import json
import mmap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError, UsageError
from headrace.core.prediction_table.layout import Footer, TableColumn

_CHUNK = 4 << 20
# So few keys are looked up one by one: calls of numpy take longer.
_FEW = 8

Rows = npt.NDArray[np.int64]


class PredictionTable:
    """A table of predictions by key; safe to use from several threads at a time.

    The file is mapped until the last reference to the table is gone. It is never changed: several tables, and one table
    several times, may be open in one process, and removing or replacing the file does not affect them.

    Attributes:
        path: of the file.
        columns: the model's outputs, in the order of their names.
        about: what the predictions are.
        digest: SHA-256 of the content, 64 hexadecimal digits.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens a table after verifying all of its bytes.

        Raises:
            UsageError: the file does not exist or cannot be read.
            DataError: it is not a table, or is truncated or damaged.
        """
        self.path = str(path)
        try:
            with Path(path).open("rb") as file:
                # An empty file cannot be mapped.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise UsageError("the table cannot be read", where=self.path, received=str(error)) from error
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        try:
            with memoryview(self._map) as content:
                footer, end = Footer.of(content)
                if _sha256(content[:end]) != footer.digest:
                    raise ValueError("bytes with another SHA-256 than when the table was built")
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise self._damaged(str(error)) from error
        self.columns = footer.columns
        self.about = footer.about
        self.digest = footer.digest
        self._footer = footer
        self._hashes = self._section("hashes", "<u4")
        self._rows = self._section("rows", "<u4")
        self._key_ends = self._section("key_ends", "<u8")
        # Python reads single numbers of these faster than of arrays.
        self._plain_hashes, self._plain_rows = self._hashes.data, self._rows.data
        self._plain_ends = self._key_ends.data
        self._keys_begin = footer.sections["keys"][0]

    def _damaged(self, received: str) -> DataError:
        return DataError(
            "the file is not a whole table of predictions",
            where=self.path,
            expected="a file that `headrace predictions table` or `headrace score --sink table` wrote",
            received=received,
            fix="Build the table again, or restore the file",
        )

    def _section(self, name: str, dtype: str) -> npt.NDArray[Any]:
        begin, size = self._footer.sections[name]
        kind = np.dtype(dtype)
        return np.frombuffer(self._map, kind, size // kind.itemsize, begin)

    def __len__(self) -> int:
        return self._footer.entries

    def find(self, keys: Sequence[str]) -> Rows:
        """Looks up keys.

        Args:
            keys: texts of keys, as `core.values` defines them.

        Returns:
            [keys] the row of each for `outputs`; -1 for a key that the table lacks.
        """
        # Half of a surrogate pair, which JSON may hold, is in no table.
        contents = [key.encode("utf-8", "surrogatepass") for key in keys]
        if len(keys) < _FEW:
            return np.array([self._find(content) for content in contents], np.int64)
        rows = np.full(len(keys), -1, np.int64)
        if not len(self):
            return rows
        hashes = np.fromiter(map(zlib.crc32, contents), np.uint32, len(keys))
        entries = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        at = np.flatnonzero(self._hashes[entries] == hashes)
        found = self._rows[entries[at]].astype(np.int64)
        begins = np.where(found > 0, self._key_ends[found - 1], np.uint64(0)).astype(np.int64) + self._keys_begin
        ends = self._key_ends[found].astype(np.int64) + self._keys_begin
        content = self._map
        places = zip(at.tolist(), found.tolist(), begins.tolist(), ends.tolist(), strict=True)
        for place, row, begin, end in places:
            if content[begin:end] == contents[place]:
                rows[place] = row
            else:
                rows[place] = self._among(int(entries[place]), contents[place])
        return rows

    def _find(self, content: bytes) -> int:
        """The row of one key; -1 for a key that the table lacks."""
        hashed = zlib.crc32(content)
        entry = bisect.bisect_left(self._plain_hashes, hashed)
        if entry == len(self) or self._plain_hashes[entry] != hashed:
            return -1
        return self._plain_rows[entry] if self._key(entry) == content else self._among(entry, content)

    def _among(self, begin: int, content: bytes) -> int:
        """The row of a key among the entries of its hash, which begin at `begin` and are in the order of keys."""
        end = bisect.bisect_right(self._plain_hashes, self._plain_hashes[begin], lo=begin)
        entry = bisect.bisect_left(range(end), content, lo=begin, key=self._key)
        return self._plain_rows[entry] if entry < end and self._key(entry) == content else -1

    def _key(self, entry: int) -> bytes:
        row = self._plain_rows[entry]
        begin = self._plain_ends[row - 1] if row else 0
        return self._map[self._keys_begin + begin : self._keys_begin + self._plain_ends[row]]

    def keys(self, entries: Sequence[int]) -> list[str]:
        """The keys of entries, each from 0 to the number of keys minus 1, in an order of their own."""
        return [self._key(entry).decode("utf-8", "surrogatepass") for entry in entries]

    def outputs(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """The predictions of rows, as the model returned them.

        Args:
            rows: [n] from `find`, without -1.

        Returns:
            A copy of each output by name: numbers as [n] or [n, width]; text and bytes as objects, in `bytes`. Where
            lists are of several lengths, [n] of objects, one array per row.
        """
        return {column.name: self._values(column, rows) for column in self.columns}

    def _values(self, column: TableColumn, rows: Rows) -> npt.NDArray[Any]:
        if column.width is None:
            return self._flat(column, rows)
        if column.width:
            items = rows[:, None] * column.width + np.arange(column.width)
            return self._flat(column, items.reshape(-1)).reshape(items.shape)
        begins, ends = _bounds(self._section(column.section("list_ends"), "<u8"), rows)
        lengths = ends - begins
        stops = np.cumsum(lengths)
        flat = self._flat(column, np.arange(lengths.sum()) + np.repeat(ends - stops, lengths))
        widths = set(lengths.tolist())
        if len(widths) <= 1:
            return flat.reshape(len(rows), widths.pop() if widths else 0)
        lists = np.empty(len(rows), object)
        lists[:] = np.split(flat, stops[:-1])
        return lists

    def _flat(self, column: TableColumn, items: Rows) -> npt.NDArray[Any]:
        name = column.section("values")
        if column.kind == "number":
            numbers: npt.NDArray[Any] = self._section(name, column.stored)[items]
            return numbers.astype(column.dtype, copy=False)
        begins, ends = _bounds(self._section(column.section("ends"), "<u8"), items)
        begin = self._footer.sections[name][0]
        texts = np.empty(len(items), object)
        texts[:] = [self._map[begin + b : begin + e] for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
        return texts


def _bounds(ends: npt.NDArray[Any], at: Rows) -> tuple[Rows, Rows]:
    """Where items begin and end."""
    if not len(at):
        return at, at
    return np.where(at > 0, ends[at - 1], np.uint64(0)).astype(np.int64), ends[at].astype(np.int64)


def _sha256(content: memoryview) -> str:
    found = hashlib.sha256()
    for begin in range(0, len(content), _CHUNK):
        found.update(content[begin : begin + _CHUNK])
    return found.hexdigest()
