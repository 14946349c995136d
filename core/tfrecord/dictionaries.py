"""Dictionaries: the distinct strings of columns, numbered as they occur, and kept between reads while they are few."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

BYTES, FLOATS = 1, 2
# A column with more distinct strings than this begins again in the next read: few of them would occur in it.
_KEPT = 4096
# A power of 2; hash tables grow from so many slots.
_FIRST_SLOTS = 1024


class DistinctStrings(list[bytes]):
    """Distinct strings by number; the first is empty, for an absent feature. Later reads may append to them.

    Attributes:
        derived: what users of the strings computed from them, by user: kept as long as the strings are.
    """

    def __init__(self) -> None:
        super().__init__([b""])
        self.derived: Final[dict[Any, Any]] = {}


class _Column(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_bytes", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("known", ctypes.c_int32),
        ("values", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("mask", ctypes.c_uint64),
        ("seen", ctypes.c_int64),
        ("most", ctypes.c_uint64),
        ("begin", ctypes.c_uint64),
    )


class Dictionaries:
    """The columns of reader.c and their dictionaries, for one read at a time.

    The entries point into the bytes of the files, which must exist as long as this does.

    Args:
        kinds: BYTES or FLOATS by name.
        rows: maximum number of rows of a read.

    Attributes:
        rows: as given.
        columns: for `headrace_decode`.
    """

    def __init__(self, kinds: Mapping[bytes, int], rows: int) -> None:
        self.rows = rows
        self.columns = (_Column * len(kinds))()
        texts = list(kinds.values()).count(BYTES)
        most = _KEPT + rows
        # Half of a hash table's slots stay empty.
        self._slots = np.zeros((texts, 1 << (2 * most + 2).bit_length()), np.int32)
        self._entries, self._words = (np.empty((texts, most + 1), each) for each in (np.uintp, np.uint64))
        self._sizes = np.zeros((texts, most + 1), np.int32)
        self._strings = [DistinctStrings() for _ in range(texts)]
        at = 0
        for column, (name, kind) in zip(self.columns, kinds.items(), strict=True):
            column.name, column.name_bytes, column.kind = name, len(name), kind
            if kind == BYTES:
                column.known, column.most = 1, self._slots.shape[1] - 1
                column.mask = min(_FIRST_SLOTS - 1, column.most)
                column.slots, column.entries = self._slots[at].ctypes.data, self._entries[at].ctypes.data
                column.words, column.sizes = self._words[at].ctypes.data, self._sizes[at].ctypes.data
                at += 1

    def begin(self, numbers: npt.NDArray[np.float32], codes: npt.NDArray[np.int32]) -> None:
        """Sets where a read puts its values: [columns of the kind, rows] each."""
        floats, texts = iter(numbers), iter(enumerate(codes))
        for column in self.columns:
            column.seen = -1
            if column.kind == FLOATS:
                column.values = next(floats).ctypes.data
                continue
            at, values = next(texts)
            column.values = values.ctypes.data
            if column.known > _KEPT:
                self._slots[at, : column.mask + 1] = 0
                column.known, column.mask = 1, min(_FIRST_SLOTS - 1, column.most)
                self._strings[at] = DistinctStrings()

    def strings(self, compiled: Any) -> list[DistinctStrings]:
        """The distinct strings of each column, after a read."""
        texts = iter(zip(self._strings, self._sizes, strict=True))
        for column in self.columns:
            if column.kind != BYTES:
                continue
            strings, sizes = next(texts)
            first = len(strings)
            if first == column.known:
                continue
            size = compiled.headrace_entries(ctypes.byref(column), first, None)
            content = ctypes.create_string_buffer(size or 1)
            compiled.headrace_entries(ctypes.byref(column), first, content)
            packed, at = content.raw, 0
            for stop in np.cumsum(sizes[first : column.known]).tolist():
                strings.append(packed[at:stop])
                at = stop
        return list(self._strings)
