"""Example reader: decodes features of TFRecord files on a disk straight to columns.

reader.c does it in one pass. Where it was not compiled, and for records that are not in the form of protobuf's own
serialization, the parser in NumPy does the same.
"""

from __future__ import annotations

import contextlib
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
from headrace.core.tfrecord.dictionaries import BYTES, FLOATS, Dictionaries
from headrace.core.tfrecord.parser import FeatureValues, joined, parse

Kind = Literal["bytes_list", "float_list"]

# The offset of every so many records is stored once it was passed.
_MARKED_ROWS = 1024
_KINDS: Mapping[Kind, int] = {"bytes_list": BYTES, "float_list": FLOATS}
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


class RecordRange(NamedTuple):
    """Consecutive records of a file: the file's index, the first record's index, and the number of records."""

    file: int
    first: int
    rows: int


@dataclass(frozen=True)
class DecodedRows:
    """Decoded rows of Examples.

    Attributes:
        columns: names and kinds, in the order of the request.
        numbers: [float columns, rows] float32; an absent feature is NaN.
        codes: [string columns, rows] int32: indices into that column's `values`.
        values: the distinct values of each string column, and of rows read before; the first is empty, for an absent
            feature. In C they are `DistinctStrings`.
    """

    columns: Mapping[str, Kind]
    numbers: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    values: Sequence[list[bytes]]

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


@dataclass
class _File:
    """A memory-mapped file, and the offset of each 1024th record, as far as records were passed."""

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
        # Their entries point into the files' bytes, which exist as long as the reader.
        self._idle: list[Dictionaries] = []

    def read(self, runs: Iterable[RecordRange], rows: npt.NDArray[np.int64]) -> DecodedRows:
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

    def _decoded(self, runs: Iterable[RecordRange], rows: npt.NDArray[np.int64]) -> DecodedRows:
        kinds = list(self._columns.values())
        numbers = np.empty((kinds.count(FLOATS), len(rows)), np.float32)
        codes = np.empty((kinds.count(BYTES), len(rows)), np.int32)
        # One per thread that reads. A read that fails leaves its own behind, half filled.
        dictionaries = None
        with contextlib.suppress(IndexError):
            dictionaries = self._idle.pop()
        if dictionaries is None or dictionaries.rows < len(rows):
            dictionaries = Dictionaries(self._columns, len(rows))
        dictionaries.begin(numbers, codes)
        columns = dictionaries.columns
        for run, places in _in_file_order(runs, rows):
            content, at = self._place(run)
            self._call("decode", run, content, at, run.rows, places.ctypes.data, columns, len(columns))
        strings = dictionaries.strings(self._compiled)
        self._idle.append(dictionaries)
        return DecodedRows(self._kinds, numbers, codes, strings)

    def records(self, runs: Iterable[RecordRange]) -> list[bytes]:
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

    def _parsed(self, runs: Iterable[RecordRange], rows: npt.NDArray[np.int64]) -> DecodedRows:
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
        return DecodedRows(self._kinds, *shaped, values)

    def _place(self, run: RecordRange) -> tuple[npt.NDArray[np.uint8], ctypes.c_int64]:
        """The bytes of the run's file, and the offset at which the run begins."""
        file = self._files[run.file]
        content = file.opened()
        mark, beyond = divmod(run.first, _MARKED_ROWS)
        with file.lock:
            while len(file.marks) <= mark:
                at = ctypes.c_int64(file.marks[-1])
                self._call("pass", RecordRange(run.file, len(file.marks) * _MARKED_ROWS, 0), content, at, _MARKED_ROWS)
                file.marks.append(at.value)
            at = ctypes.c_int64(file.marks[mark])
        self._call("pass", run, content, at, beyond)
        return content, at

    def _call(
        self, what: str, run: RecordRange, content: npt.NDArray[np.uint8], at: ctypes.c_int64, records: int, *more: Any
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

    def _check(self, fault: int, run: RecordRange, at: ctypes.c_int64) -> None:
        if fault == _IRREGULAR:
            raise _Irregular
        if fault:
            raise UnreadableFile(
                _FAULTS[fault],
                where=f"{self._files[run.file].path}, byte {at.value}",
                expected="a TFRecord file",
                fix="The file is damaged, compressed, or of another format",
            )


def _in_file_order(
    runs: Iterable[RecordRange], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[RecordRange, npt.NDArray[np.int64]]]:
    """Runs and the rows of their records, with adjacent runs of a file joined: fewer and longer calls."""
    begun, pieces = 0, []
    for run in runs:
        pieces.append((run, rows[begun : begun + run.rows]))
        begun += run.rows
    joined: list[tuple[RecordRange, list[npt.NDArray[np.int64]]]] = []
    for run, places in sorted(pieces, key=lambda piece: piece[0]):
        if joined and (last := joined[-1][0]).file == run.file and last.first + last.rows == run.first:
            joined[-1] = (RecordRange(run.file, last.first, last.rows + run.rows), [*joined[-1][1], places])
        else:
            joined.append((run, [places]))
    for run, parts in joined:
        yield run, np.ascontiguousarray(np.concatenate(parts), np.int64)


def _check_single(name: str, kind: Kind, found: FeatureValues) -> None:
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
