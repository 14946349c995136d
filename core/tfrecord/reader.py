"""Example reader: decodes features of TFRecord files on a disk straight to columns.

reader.c does it in one pass. Where it was not compiled, and for records that are not in the form of protobuf's own
serialization, the parser in NumPy does the same.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError, UnreadableFile
from headrace.core.tfrecord import native
from headrace.core.tfrecord.checksum import masked_crc32c
from headrace.core.tfrecord.parser import Values, joined, parse

Kind = Literal["bytes_list", "float_list"]

# The offset of every so many records is stored once it was passed.
_MARKED_ROWS = 256
# A power of 2; tables of strings grow from so many slots.
_FIRST_SLOTS = 1024
_KINDS: Mapping[Kind, int] = {"bytes_list": 1, "float_list": 2}
_IRREGULAR = 1
# Bytes before and after a record: its length and the checksum of that; the checksum of its bytes.
_HEAD, _TAIL = 12, 4
_FAULTS = {
    2: "the file ends within a record",
    3: "the checksum of a record's length is wrong",
    4: "the checksum of a record is wrong",
}


class _Irregular(Exception):
    """A record is not in the form of protobuf's serialization, or a feature is not one value of its kind."""


class Run(NamedTuple):
    """Consecutive records of a file: the file's index, the first record's index, and the number of records."""

    file: int
    first: int
    rows: int


@dataclass(frozen=True)
class Decoded:
    """Decoded rows of Examples.

    Attributes:
        columns: names and kinds, in the order of the request.
        numbers: [float columns, rows] float32; an absent feature is NaN.
        codes: [string columns, rows] int32: indices into that column's `values`.
        values: the distinct values of each string column; the first is empty, for an absent feature.
    """

    columns: Mapping[str, Kind]
    numbers: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    values: list[list[bytes]]

    def by_name(self) -> dict[str, npt.NDArray[Any]]:
        """[rows] of each column: float32, or bytes as objects; an absent string is empty."""
        numbers, strings = iter(self.numbers), iter(zip(self.codes, self.values, strict=True))
        found: dict[str, npt.NDArray[Any]] = {}
        for name, kind in self.columns.items():
            if kind == "float_list":
                found[name] = next(numbers)
            else:
                codes, values = next(strings)
                found[name] = np.array(values, np.object_)[codes]
        return found


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


class _Room(NamedTuple):
    """Buffers that a call fills, to which `columns` points."""

    numbers: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    columns: Any
    dictionaries: tuple[Any, ...]


@dataclass
class _File:
    """A memory-mapped file, and the offset of each 256th record, as far as records were passed."""

    path: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    content: npt.NDArray[np.uint8] | None = None
    marks: list[int] = field(default_factory=lambda: [0])

    def opened(self) -> npt.NDArray[np.uint8]:
        with self.lock:
            if self.content is None:
                with Path(self.path).open("rb") as file:
                    self.content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            return self.content


class ExampleReader:
    """Reads records of files in any order. It is thread-safe.

    Args:
        files: local paths of TFRecord files that are neither compressed nor empty.
        columns: kinds of features by name, each with one value per record.
    """

    def __init__(self, files: Sequence[str], columns: Mapping[str, Kind]) -> None:
        self._compiled = native.library()
        self._files = [_File(path) for path in files]
        self._kinds = dict(columns)
        self._parsing = threading.Lock()
        self._columns = {name.encode(): _KINDS[kind] for name, kind in columns.items()}

    def read(self, runs: Iterable[Run], rows: npt.NDArray[np.int64]) -> Decoded:
        """Decodes records.

        Args:
            runs: the records, in this order.
            rows: [records] the row of each: a permutation of their numbers.

        Returns:
            The columns of either kind in the order of `columns`.

        Raises:
            UnreadableFile: a file is truncated, or a checksum is wrong.
            DataError: a record is not a tf.train.Example, or a feature is not one value of its kind.
            OSError: a file cannot be read.
        """
        if self._compiled is None:
            return self._parsed(runs, rows)
        runs = list(runs)
        try:
            return self._decoded(runs, rows)
        except _Irregular:
            return self._parsed(runs, rows)

    def _decoded(self, runs: Iterable[Run], rows: npt.NDArray[np.int64]) -> Decoded:
        room = self._room(len(rows))
        held: list[npt.NDArray[np.uint8]] = []
        for run, places in _in_file_order(runs, rows):
            content, at = self._place(run)
            held.append(content)
            self._call("decode", run, content, at, run.rows, places.ctypes.data, room.columns, len(room.columns))
        # The entries of the dictionaries point into the files' bytes: `held` keeps those alive until they are copied.
        return Decoded(self._kinds, room.numbers, room.codes, self._values(room))

    def records(self, runs: Iterable[Run]) -> list[bytes]:
        """The same records, serialized."""
        found: list[bytes] = []
        for run in runs:
            content, at = self._place(run)
            if self._compiled is None:
                self._check(_pass(content, run.rows, at, found), run, at)
                continue
            for _ in range(run.rows):
                begin = at.value
                self._call("pass", run, content, at, 1)
                found.append(content[begin + _HEAD : at.value - _TAIL].tobytes())
        return found

    def _parsed(self, runs: Iterable[Run], rows: npt.NDArray[np.int64]) -> Decoded:
        """As `read`, without C."""
        # Threads would only wait for each other at the interpreter's lock.
        with self._parsing:
            features = parse(*joined(self.records(runs)), list(self._kinds))
        numbers, codes, values = [], [], []
        for name, kind in self._kinds.items():
            found = features.get(name)
            if found is not None:
                _check_single(name, kind, found)
            if kind == "float_list":
                column = np.full(len(rows), np.nan, np.float32)
                if found is not None:
                    column[rows[found.rows]] = found.numbers
                numbers.append(column)
            else:
                known: dict[bytes, int] = {b"": 0}
                places = np.zeros(len(rows), np.int32)
                if found is not None:
                    places[rows[found.rows]] = [known.setdefault(text, len(known)) for text in found.texts()]
                codes.append(places)
                values.append(list(known))
        shaped = np.array(numbers, np.float32).reshape(-1, len(rows)), np.array(codes, np.int32).reshape(-1, len(rows))
        return Decoded(self._kinds, *shaped, values)

    def _room(self, rows: int) -> _Room:
        kinds = list(self._columns.values())
        numbers = np.empty((kinds.count(_KINDS["float_list"]), rows), np.float32)
        codes = np.empty((kinds.count(_KINDS["bytes_list"]), rows), np.int32)
        # Half of a hash table's slots stay empty.
        slots = np.zeros((len(codes), 1 << (2 * rows + 2).bit_length()), np.int32)
        entries, words = (np.empty((len(codes), rows + 1), each) for each in (np.uintp, np.uint64))
        sizes = np.zeros((len(codes), rows + 1), np.int32)
        columns = (_Column * len(kinds))()
        floats, strings = iter(numbers), iter(zip(codes, slots, entries, words, sizes, strict=True))
        for column, (name, kind) in zip(columns, self._columns.items(), strict=True):
            column.name, column.name_bytes, column.kind, column.seen = name, len(name), kind, -1
            if kind == _KINDS["float_list"]:
                column.values = next(floats).ctypes.data
                continue
            values, table, places, begins, lengths = next(strings)
            column.known, column.mask, column.most = 1, min(_FIRST_SLOTS, len(table)) - 1, len(table) - 1
            column.words = begins.ctypes.data
            column.values, column.slots = values.ctypes.data, table.ctypes.data
            column.entries, column.sizes = places.ctypes.data, lengths.ctypes.data
        return _Room(numbers, codes, columns, (slots, entries, words, sizes))

    def _values(self, room: _Room) -> list[list[bytes]]:
        """The entries of the dictionaries."""
        sizes = iter(room.dictionaries[-1])
        found = []
        for column in room.columns:
            if column.kind != _KINDS["bytes_list"]:
                continue
            content = ctypes.create_string_buffer(self._compiled.headrace_entries(ctypes.byref(column), None) or 1)
            self._compiled.headrace_entries(ctypes.byref(column), content)
            packed, at = content.raw, 0
            strings = [b""]
            for stop in np.cumsum(next(sizes)[1 : column.known]).tolist():
                strings.append(packed[at:stop])
                at = stop
            found.append(strings)
        return found

    def _place(self, run: Run) -> tuple[npt.NDArray[np.uint8], ctypes.c_int64]:
        """The bytes of the run's file, and the offset at which the run begins."""
        file = self._files[run.file]
        content = file.opened()
        mark, beyond = divmod(run.first, _MARKED_ROWS)
        with file.lock:
            while len(file.marks) <= mark:
                at = ctypes.c_int64(file.marks[-1])
                self._call("pass", Run(run.file, len(file.marks) * _MARKED_ROWS, 0), content, at, _MARKED_ROWS)
                file.marks.append(at.value)
            at = ctypes.c_int64(file.marks[mark])
        self._call("pass", run, content, at, beyond)
        return content, at

    def _call(
        self, what: str, run: Run, content: npt.NDArray[np.uint8], at: ctypes.c_int64, records: int, *more: Any
    ) -> None:
        if not records:
            return
        if self._compiled is None:
            fault = _pass(content, records, at)
        else:
            done = ctypes.c_int64()
            function = getattr(self._compiled, f"headrace_{what}")
            fault = function(content.ctypes.data, len(content), records, *more, ctypes.byref(at), ctypes.byref(done))
        self._check(fault, run, at)

    def _check(self, fault: int, run: Run, at: ctypes.c_int64) -> None:
        if fault == _IRREGULAR:
            raise _Irregular
        if fault:
            raise UnreadableFile(
                _FAULTS[fault],
                where=f"{self._files[run.file].path}, byte {at.value}",
                expected="a TFRecord file",
                fix="The file is damaged, compressed, or of another format",
            )


def _in_file_order(runs: Iterable[Run], rows: npt.NDArray[np.int64]) -> Iterator[tuple[Run, npt.NDArray[np.int64]]]:
    """Runs and the rows of their records, with adjacent runs of a file joined: fewer and longer calls."""
    begun, pieces = 0, []
    for run in runs:
        pieces.append((run, rows[begun : begun + run.rows]))
        begun += run.rows
    joined: list[tuple[Run, list[npt.NDArray[np.int64]]]] = []
    for run, places in sorted(pieces, key=lambda piece: piece[0]):
        if joined and (last := joined[-1][0]).file == run.file and last.first + last.rows == run.first:
            joined[-1] = (Run(run.file, last.first, last.rows + run.rows), [*joined[-1][1], places])
        else:
            joined.append((run, [places]))
    for run, parts in joined:
        yield run, np.ascontiguousarray(np.concatenate(parts), np.int64)


def _check_single(name: str, kind: Kind, found: Values) -> None:
    """Refuses a feature of another kind, or with a number of values other than one in some record."""
    wrong = np.flatnonzero(found.counts != 1)
    if found.kind == kind and not len(wrong):
        return
    received = found.kind if found.kind != kind else f"{found.counts[wrong[0]]} values"
    raise DataError(f"feature {name!r} is not one value", expected=f"a {kind} of one value", received=received)


def _pass(content: npt.NDArray[np.uint8], records: int, at: ctypes.c_int64, found: list[bytes] | None = None) -> int:
    """Moves `at` over records by headrace_pass of reader.c; returns the fault, 0 for none.

    Args:
        content: the file.
        records: number of records.
        at: offset of the first record; set to the offset of the next one, or of the one at fault.
        found: receives the records, whose checksums are verified then; None only passes over them.
    """
    view, place = content.data, at.value
    lengths: dict[bytes, int] = {}
    for _ in range(records):
        at.value = place
        head = bytes(view[place : place + _HEAD])
        if len(head) < _HEAD:
            return 2
        length = lengths.get(head)
        if length is None:
            # Few lengths occur in a file, so few of their checksums are ever computed.
            length, checksum = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != checksum:
                return 3
            lengths[head] = length
        end = place + _HEAD + length
        if end + _TAIL > len(view):
            return 2
        if found is not None:
            found.append(bytes(view[place + _HEAD : end]))
            if masked_crc32c(found[-1]) != int.from_bytes(view[end : end + _TAIL], "little"):
                return 4
        place = end + _TAIL
    at.value = place
    return 0
