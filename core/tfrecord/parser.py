"""Takes serialized tf.train.Example apart, all records of a batch side by side: one cursor a record, moved together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.tfrecord.pieces import offsets_of

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# Bytes after the data that may be looked at, and never count.
_PADDING = 16
_KINDS = {0: "bytes_list", 1: "float_list", 2: "int64_list"}
_BYTES, _FLOATS, _INTEGERS = _KINDS
_FEATURE_TAGS = np.array([0x0A, 0x12, 0x1A], np.uint8)


@dataclass
class _Entries:
    """Entries of one key: the records they are in, and from where to where their Feature lies."""

    rows: list[Integers]
    starts: list[Integers]
    ends: list[Integers]


class Parser:
    """One go at all records: their columns, and which of the records are not as protobuf writes them."""

    def __init__(self, records: pa.LargeBinaryArray, wanted: Sequence[str] | None) -> None:
        offsets = offsets_of(records)
        first, last = int(offsets[0]), int(offsets[-1])
        self._data = np.zeros(last - first + _PADDING, np.uint8)
        if last > first:
            self._data[: last - first] = np.frombuffer(records.buffers()[2], np.uint8)[first:last]
        # Every run of 8 bytes as a number, to compare and gather by: the windows overlap.
        self._words = np.ndarray((len(self._data) - 7,), "<u8", self._data, strides=(1,))
        self._rows = len(records)
        self._wanted = None if wanted is None else {name.encode() for name in wanted}
        self.irregular: Mask = np.zeros(self._rows, np.bool_)
        self.columns: dict[str, pa.Array] = {}
        entries = self._entries(offsets[:-1] - first, offsets[1:] - first)
        for key, found in entries.items():
            column = self._column(key, found)
            if column is not None:
                self.columns[key.decode()] = column

    def _entries(self, starts: Integers, ends: Integers) -> dict[bytes, _Entries]:
        rows = np.flatnonzero(ends > starts)
        at, end = starts[rows], ends[rows]
        at, stop, good = self._field(at, end, 0x0A)
        rows, at, end = self._keep(rows, good & (stop == end), at, end)
        found: dict[bytes, _Entries] = {}
        while len(rows := rows[(open_ := at < end)]):
            at, end = at[open_], end[open_]
            key, entry, good = self._field(at, end, 0x0A)
            name, name_end, named = self._field(key, entry, 0x0A)
            feature, feature_end, valued = self._field(name_end, entry, 0x12)
            good &= named & valued & (feature_end == entry)
            rows, end, at, name, name_end, feature = self._keep(rows, good, end, entry, name, name_end, feature)
            self._group(found, rows, name, name_end - name, feature, at)
        return found

    def _group(
        self,
        found: dict[bytes, _Entries],
        rows: Integers,
        name: Integers,
        length: Integers,
        start: Integers,
        end: Integers,
    ) -> None:
        """Adds entries to those of their keys; most often they all have the same."""
        while len(rows):
            key = self._data[name[0] : name[0] + length[0]].tobytes()
            same = length == len(key)
            for place in range(0, len(key), 8):
                part = key[place : place + 8]
                word = np.uint64(int.from_bytes(part, "little"))
                mask = np.uint64((1 << 8 * len(part)) - 1)
                # Where the length differs, this may look beyond the data.
                spots = np.minimum(name + place, len(self._words) - 1)
                same &= (self._words[spots] & mask) == word
            if self._wanted is None or key in self._wanted:
                entries = found.setdefault(key, _Entries([], [], []))
                entries.rows.append(rows[same])
                entries.starts.append(start[same])
                entries.ends.append(end[same])
            other = ~same
            rows, name, length, start, end = (array[other] for array in (rows, name, length, start, end))

    def _column(self, key: bytes, entries: _Entries) -> pa.Array | None:
        rows, start, end = (np.concatenate(part) for part in (entries.rows, entries.starts, entries.ends))
        try:
            name = key.decode()
        except UnicodeDecodeError:
            self.irregular[rows] = True
            return None
        if len(entries.rows) > 1:
            # Of two entries of one key the later counts, which is protobuf's to say.
            self.irregular |= np.bincount(rows, minlength=self._rows) > 1
            order = np.argsort(rows, kind="stable")
            rows, start, end = rows[order], start[order], end[order]
        # A Feature of no bytes has no kind, and says no more than an absent one.
        rows, start, end = (array[end > start] for array in (rows, start, end))
        if not len(rows):
            return pa.nulls(self._rows)
        tags = self._data[start]
        kind = int(np.searchsorted(_FEATURE_TAGS, tags[0]))
        values, values_end, good = self._field(start, end, None)
        good &= (values_end == end) & np.isin(tags, _FEATURE_TAGS)
        rows, values, end, tags = self._keep(rows, good, values, end, tags)
        if self.irregular.any():
            return None
        different = tags != tags[0]
        if different.any():
            place = int(np.argmax(different))
            kinds = [_KINDS[int(np.searchsorted(_FEATURE_TAGS, tags[index]))] for index in (0, place)]
            raise DataError(
                f"feature {name!r} is of two kinds",
                expected=f"{kinds[0]}, as in record {rows[0]}",
                received=f"{kinds[1]} in record {rows[place]}",
            )
        if kind == _BYTES:
            return self._bytes(rows, values, end)
        return self._numbers(rows, values, end, kind)

    def _numbers(self, rows: Integers, start: Integers, end: Integers, kind: int) -> pa.Array | None:
        start = start.copy()
        some = np.flatnonzero(end > start)
        first, stop, good = self._field(start[some], end[some], 0x0A)
        good &= stop == end[some]
        if kind == _FLOATS:
            good &= (stop - first) % 4 == 0
        if not good.all():
            self.irregular[rows[some[~good]]] = True
            return None
        start[some] = first
        lengths = end - start
        data: Any
        if kind == _FLOATS:
            if (lengths == 4).all():
                data = (self._words[start] & np.uint64(0xFFFFFFFF)).astype("<u4").view("<f4")
            else:
                data = _gather(self._data, start, lengths).view("<f4")
            return self._assembled(rows, lengths // 4, pa.array(data))
        content = _gather(self._data, start, lengths)
        bounds = np.cumsum(lengths)
        values, counts, closed = _varints(content, bounds)
        if not closed:
            # Which record it is matters no more: protobuf looks at all that have the feature.
            self.irregular[rows] = True
            return None
        return self._assembled(rows, counts, pa.array(values))

    def _bytes(self, rows: Integers, at: Integers, end: Integers) -> pa.Array | None:
        owners, starts, lengths = [], [], []
        active = np.arange(len(rows))
        while len(active := active[at[active] < end[active]]):
            first, stop, good = self._field(at[active], end[active], 0x0A)
            if not good.all():
                self.irregular[rows[active[~good]]] = True
                return None
            owners.append(active)
            starts.append(first)
            lengths.append(stop - first)
            at[active] = stop
        empty = np.zeros(0, np.int64)
        owner, start, length = (np.concatenate([empty, *part]) for part in (owners, starts, lengths))
        if len(owners) > 1:
            order = np.argsort(owner, kind="stable")
            owner, start, length = owner[order], start[order], length[order]
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        kind, width = (pa.binary(), np.int32) if offsets[-1] < 1 << 31 else (pa.large_binary(), np.int64)
        content = _gather(self._data, start, length)
        buffers = [None, pa.py_buffer(offsets.astype(width)), pa.py_buffer(content)]
        values = pa.Array.from_buffers(kind, len(length), buffers)
        return self._assembled(rows, np.bincount(owner, minlength=len(rows)), values)

    def _assembled(self, rows: Integers, counts: Integers, values: pa.Array) -> pa.Array:
        """The column whose `rows` have `counts` of the values each; its other rows are null."""
        everywhere = len(rows) == self._rows
        if (counts == 1).all():
            if everywhere:
                return values
            places = np.zeros(self._rows, np.int64)
            places[rows] = np.arange(len(rows))
            absent = np.ones(self._rows, np.bool_)
            absent[rows] = False
            return values.take(pa.array(places, mask=absent))
        every = np.zeros(self._rows, np.int64)
        every[rows] = counts
        offsets = np.zeros(self._rows + 1, np.int32)
        np.cumsum(every, out=offsets[1:])
        absent = np.ones(self._rows, np.bool_)
        absent[rows] = False
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=None if everywhere else pa.array(absent))

    def _keep(self, rows: Integers, good: Mask, *arrays: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """Rows and their arrays without what is not good, which is marked as irregular."""
        if good.all():
            return (rows, *arrays)
        self.irregular[rows[~good]] = True
        return (rows[good], *(array[good] for array in arrays))

    def _field(self, at: Integers, end: Integers, tag: int | None) -> tuple[Integers, Integers, Mask]:
        """A length-delimited field at each place: where its content starts and ends, and whether it is as expected.

        What is not good has a start and an end that are safe to look at, and no meaning.
        """
        top = len(self._data) - _PADDING
        at = np.minimum(at, top)
        good = at < end
        if tag is not None:
            good &= self._data[at] == tag
        length = self._data[at + 1].astype(np.int64)
        start = at + 2
        long = np.flatnonzero(length > 0x7F)
        if len(long):
            length[long] &= 0x7F
            for place in range(1, 5):
                digit = self._data[np.minimum(at[long] + 1 + place, top)].astype(np.int64)
                length[long] |= (digit & 0x7F) << 7 * place
                start[long] += 1
                long = long[digit > 0x7F]
                if not len(long):
                    break
            # Longer than five bytes: not what protobuf writes for a length.
            good[long] = False
        stop = start + length
        good &= stop <= end
        return np.minimum(start, top), np.minimum(stop, top), good


def _gather(data: Bytes, starts: Integers, lengths: Integers) -> Bytes:
    """The bytes of all pieces, one after another."""
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, np.uint8)
    ends = np.cumsum(lengths)
    places = np.repeat(starts - (ends - lengths), lengths)
    places += np.arange(total)
    pieces: Bytes = data[places]
    return pieces


def _varints(content: Bytes, bounds: Integers) -> tuple[Integers, Integers, bool]:
    """Packed integers: their values, how many end within each of the bounds, and whether they are well formed."""
    last = content < 0x80
    ends = np.flatnonzero(last)
    until = np.concatenate([np.zeros(1, np.int64), np.cumsum(last)])
    counts = np.diff(until[bounds], prepend=0)
    # A piece must end where a number ends.
    closed = bounds[bounds > 0] - 1
    if not last[closed].all():
        return ends, counts, False
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > 10 or (longest == 10 and (content[ends[lengths == 10]] > 1).any()):
        return ends, counts, False
    values = (content[starts] & 0x7F).astype(np.uint64)
    longer = np.flatnonzero(lengths > 1)
    for place in range(1, longest):
        longer = longer[lengths[longer] > place]
        digits = (content[starts[longer] + place] & 0x7F).astype(np.uint64)
        values[longer] |= digits << np.uint64(7 * place)
    return values.view(np.int64), counts, True
