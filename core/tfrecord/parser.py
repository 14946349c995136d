"""Example parser in NumPy: parses all records of a batch side by side, without a loop over records.

There is one cursor per record, and all cursors move together: the n-th entry of every record's map is parsed at once,
then the values of each column at once. A record that is not in the form of protobuf's serialization (fields in another
order or repeated, lists not packed, unknown fields), or that is damaged, is passed to protobuf itself, which decides
whether it is valid, and is parsed in the form in which protobuf writes it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.tfrecord.canonical import canonical, not_an_example
from headrace.core.tfrecord.gather import gather
from headrace.core.tfrecord.varints import parse_fields, parse_varints

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# Padding after the data that may be read, and is never used.
_PADDING = 16
Kind = Literal["bytes_list", "float_list", "int64_list"]
_KINDS: tuple[Kind, ...] = ("bytes_list", "float_list", "int64_list")
_BYTES, _FLOATS, _INTEGERS = range(3)
# Maximum number of keys, and of their bytes, that are compared with the keys of all records at once.
_COMPARED_KEYS, _COMPARED_BYTES = 16, 256
# Records of which fewer have values left are parsed one by one.
_FEW = 32
_FEATURE_TAGS = np.array([0x0A, 0x12, 0x1A], np.uint8)


@dataclass(frozen=True)
class FeatureValues:
    """Values of a feature in a batch of records.

    Attributes:
        kind: of the values.
        rows: the records that have the feature, ascending.
        counts: [rows] number of values in each of them.
        numbers: float32 or int64 values of all rows, concatenated; empty for bytes.
        content: bytes values of all rows, concatenated; empty for numbers.
        offsets: [values + 1] bounds of the values in `content`.
    """

    kind: Kind
    rows: Integers
    counts: Integers
    numbers: npt.NDArray[Any]
    content: Bytes
    offsets: Integers

    def texts(self) -> list[bytes]:
        """The values of a bytes_list."""
        data, ends = self.content.tobytes(), self.offsets.tolist()
        return [data[begin:end] for begin, end in pairwise(ends)]


def parse(
    content: Bytes, offsets: Integers, wanted: Sequence[str] | None = None, *, maximum_features: int | None = None
) -> dict[str, FeatureValues | None]:
    """Parses the features of serialized Examples.

    Args:
        content: the records, concatenated.
        offsets: [records + 1] bounds of the records in `content`.
        wanted: names of features; by default all.
        maximum_features: of a record, and of different names in all records; None for no limit. They are counted
            before any values are parsed, each takes a fraction of a millisecond, and a short record may have many.

    Returns:
        The values by name. A feature without a kind in any record is None; a feature that no record has is missing.

    Raises:
        DataError: a record is not a tf.train.Example, or the kind of a feature differs between records; the message
            has the record's index, from 0. Or there are more than `maximum_features`.
    """
    first = int(offsets[0])
    content, offsets = content[first : int(offsets[-1])], offsets - first
    parser = _Parser(content, offsets, wanted, maximum_features)
    rewritten = np.zeros(len(offsets) - 1, np.bool_)
    while parser.irregular.any():
        # One irregularity may hide another, but not in a record that protobuf has written.
        if (parser.irregular & rewritten).any():
            row = int(np.argmax(parser.irregular & rewritten))
            raise not_an_example(row, "protobuf's serialization of it is not supported")
        data, ends = content.tobytes(), offsets.tolist()
        records = [data[begin:end] for begin, end in pairwise(ends)]
        for row in np.flatnonzero(parser.irregular).tolist():
            records[row] = canonical(records[row], row)
        content, offsets = joined(records)
        rewritten |= parser.irregular
        parser = _Parser(content, offsets, wanted, maximum_features)
    return parser.columns


def joined(records: Sequence[bytes]) -> tuple[Bytes, Integers]:
    """Concatenates records into the arguments of `parse`."""
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, records), np.int64, len(records)), out=offsets[1:])
    return np.frombuffer(b"".join(records), np.uint8), offsets


@dataclass
class _Entries:
    """Entries of one key: their records, and the bounds of their Feature."""

    rows: list[Integers]
    starts: list[Integers]
    ends: list[Integers]


class _Parser:
    """One pass over all records: their columns, and the records that are irregular."""

    def __init__(
        self, content: Bytes, offsets: Integers, wanted: Sequence[str] | None, maximum_features: int | None
    ) -> None:
        self._data = np.zeros(len(content) + _PADDING, np.uint8)
        self._data[: len(content)] = content
        # A number for every 8 consecutive bytes, to compare and gather by: the windows overlap.
        self._words = np.ndarray((len(self._data) - 7,), "<u8", self._data, strides=(1,))
        self._rows = len(offsets) - 1
        self._wanted = None if wanted is None else {name.encode() for name in wanted}
        self._maximum = maximum_features
        self._names: set[bytes] = set()
        self.irregular: Mask = np.zeros(self._rows, np.bool_)
        self.columns: dict[str, FeatureValues | None] = {}
        for key, found in self._entries(offsets[:-1], offsets[1:]).items():
            column = self._column(key, found)
            if not self.irregular.any():
                self.columns[key.decode()] = column

    def _entries(self, starts: Integers, ends: Integers) -> dict[bytes, _Entries]:
        rows = np.flatnonzero(ends > starts)
        at, end = starts[rows], ends[rows]
        at, stop, good = self._field(at, end, 0x0A)
        rows, at, end = self._keep(rows, good & (stop == end), at, end)
        found: dict[bytes, _Entries] = {}
        for passed in count():
            open_ = at < end
            rows, at, end = rows[open_], at[open_], end[open_]
            if not len(rows):
                break
            self._check_count(passed + 1)
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
        """Adds entries to those of their keys."""
        for key, same in self._same_keys(name, length):
            self._names.add(key)
            self._check_count(len(self._names))
            if self._wanted is None or key in self._wanted:
                entries = found.setdefault(key, _Entries([], [], []))
                entries.rows.append(rows[same])
                entries.starts.append(start[same])
                entries.ends.append(end[same])

    def _same_keys(self, name: Integers, length: Integers) -> Iterator[tuple[bytes, Integers]]:
        """The distinct keys of entries, and the indices of the entries that have each; usually all have the same."""
        left = np.arange(len(name))
        for _ in range(_COMPARED_KEYS):
            if not len(left) or length[left[0]] > _COMPARED_BYTES:
                break
            key = self._key(name[left[0]], length[left[0]])
            same = length[left] == len(key)
            for place in range(0, len(key), 8):
                part = key[place : place + 8]
                word = np.uint64(int.from_bytes(part, "little"))
                mask = np.uint64((1 << 8 * len(part)) - 1)
                # Where the length differs, this may read beyond the data.
                spots = np.minimum(name[left] + place, len(self._words) - 1)
                same &= (self._words[spots] & mask) == word
            yield key, left[same]
            left = left[~same]
        # Many keys, and long ones, take less time one by one.
        places: dict[bytes, list[int]] = {}
        for place in left.tolist():
            places.setdefault(self._key(name[place], length[place]), []).append(place)
        for key, found in places.items():
            yield key, np.array(found, np.int64)

    def _key(self, start: np.int64, length: np.int64) -> bytes:
        return self._data[start : start + length].tobytes()

    def _check_count(self, features: int) -> None:
        if self._maximum is not None and features > self._maximum:
            raise DataError("the records have too many features", expected=f"at most {self._maximum:,}")

    def _column(self, key: bytes, entries: _Entries) -> FeatureValues | None:
        rows, start, end = (np.concatenate(part) for part in (entries.rows, entries.starts, entries.ends))
        try:
            name = key.decode()
        except UnicodeDecodeError:
            self.irregular[rows] = True
            return None
        if len(entries.rows) > 1:
            # Of two entries of one key the later counts, by protobuf's rules: protobuf decides.
            self.irregular |= np.bincount(rows, minlength=self._rows) > 1
            order = np.argsort(rows, kind="stable")
            rows, start, end = rows[order], start[order], end[order]
        # An empty Feature has no kind, and is equivalent to an absent one.
        rows, start, end = (array[end > start] for array in (rows, start, end))
        if not len(rows):
            return None
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
                f"feature {name!r} has two different kinds",
                expected=f"{kinds[0]}, as in record {rows[0]}",
                received=f"{kinds[1]} in record {rows[place]}",
            )
        if kind == _BYTES:
            return self._bytes(rows, values, end)
        return self._numbers(rows, values, end, kind)

    def _numbers(self, rows: Integers, start: Integers, end: Integers, kind: int) -> FeatureValues | None:
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
                data = gather(self._data, start, lengths).view("<f4")
            return _of_numbers("float_list", rows, lengths // 4, data)
        content = gather(self._data, start, lengths)
        bounds = np.cumsum(lengths)
        values, counts, closed = parse_varints(content, bounds)
        if not closed:
            # The exact record does not matter: protobuf checks all that have the feature.
            self.irregular[rows] = True
            return None
        return _of_numbers("int64_list", rows, counts, values)

    def _bytes(self, rows: Integers, at: Integers, end: Integers) -> FeatureValues | None:
        owners, starts, lengths = [], [], []
        active = np.arange(len(rows))
        while len(active := active[at[active] < end[active]]) > _FEW:
            first, stop, good = self._field(at[active], end[active], 0x0A)
            if not good.all():
                self.irregular[rows[active[~good]]] = True
                return None
            owners.append(active)
            starts.append(first)
            lengths.append(stop - first)
            at[active] = stop
        for row in active.tolist():
            # Millions of values of one record, which a short one may have, would be as many turns of the loop above.
            found = parse_fields(self._data[at[row] : end[row]].tobytes())
            if found is None:
                self.irregular[rows[row]] = True
                return None
            owners.append(np.full(len(found), row))
            starts.append(at[row] + found[:, 0])
            lengths.append(found[:, 1])
        empty = np.zeros(0, np.int64)
        owner, start, length = (np.concatenate([empty, *part]) for part in (owners, starts, lengths))
        if len(owners) > 1:
            order = np.argsort(owner, kind="stable")
            owner, start, length = owner[order], start[order], length[order]
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        counts = np.bincount(owner, minlength=len(rows))
        return FeatureValues("bytes_list", rows, counts, np.zeros(0), gather(self._data, start, length), offsets)

    def _keep(self, rows: Integers, good: Mask, *arrays: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """Rows and their arrays without invalid ones, which are marked as irregular."""
        if good.all():
            return (rows, *arrays)
        self.irregular[rows[~good]] = True
        return (rows[good], *(array[good] for array in arrays))

    def _field(self, at: Integers, end: Integers, tag: int | None) -> tuple[Integers, Integers, Mask]:
        """A length-delimited field at each offset: the bounds of its content, and whether it is as expected.

        Bounds of an invalid field are safe to read at, and have no meaning.
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
            # Longer than five bytes: protobuf does not write such a length.
            good[long] = False
        stop = start + length
        good &= stop <= end
        return np.minimum(start, top), np.minimum(stop, top), good


def _of_numbers(kind: Kind, rows: Integers, counts: Integers, numbers: npt.NDArray[Any]) -> FeatureValues:
    return FeatureValues(kind, rows, counts, numbers, np.zeros(0, np.uint8), np.zeros(1, np.int64))
