"""Encodes Arrow record batches as serialized tf.train.Example, column by column.

Each column becomes a table of wire bytes, one for each different value where these are few, and the number of the
table's entry for each row. Then all entries of all rows are copied to their places by one gather in C++. Entries are
sorted as protobuf for Python sorts them, so the bytes are those of its deterministic serialization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.tfrecord.conversion import convert
from headrace.components.tfrecord.varints import render_varints, varint, varint_lengths

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_Number = TypeVar("_Number", np.float32, np.int32, np.int64)

_NONE = np.zeros(1, np.int64)

# Tags of the wire format, (field number << 3) | 2: every field on the way is length-delimited.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
# Which field of Feature holds the list of each kind.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"
# Lengths up to this are looked up in a table; longer ones are sorted, which costs more than the table's memory.
_TABLE_LENGTHS = 1 << 16
# A column is taken by its different values where so many rows in its middle have at most half as many of them.
_SAMPLE = 256


def encode(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Serializes each row as one tf.train.Example.

    Args:
        batch: columns of the types that `conversion.convert` takes: numbers become float_list or int64_list, texts and
            bytes bytes_list. A null means that the row's Example does not have the feature; an empty list, that it has
            the feature with no value in it.

    Returns:
        As many values as the batch has rows, equal to `Example.SerializeToString(deterministic=True)`.

    Raises:
        DataError: a column of a type that an Example cannot hold, or a value beyond int64; it names the column.
        ValueError: two columns of one name.
    """
    names = batch.schema.names
    if len(set(names)) != len(names):
        raise ValueError(f"feature names must differ, got {sorted(names)}")
    parts: list[_Part] = []
    for name in sorted(names, key=_order):
        parts.extend(_encode_column(name, batch.column(name)))
    lengths = np.zeros(batch.num_rows, np.int64)
    for part in parts:
        lengths += part.row_lengths()
    header = _by_length(lengths, lambda length: _FIELD_1 + varint(length))
    return _gathered([header, *parts], batch.num_rows)


def by_length(lengths: Integers, render: Callable[[int], bytes]) -> pa.LargeBinaryArray:
    """`render(length)` for each row, called once for each different length."""
    return _gathered([_by_length(lengths, render)], len(lengths))


def offsets_of(array: pa.LargeBinaryArray) -> Integers:
    """The n + 1 offsets of an array's values in its data buffer; null and empty values have length 0."""
    if len(array) == 0:
        return np.zeros(1, np.int64)
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, np.int64, count=len(array) + 1, offset=array.offset * 8)


@dataclass(frozen=True)
class _Part:
    """A piece of each row: which entry of a table of bytes it is.

    Attributes:
        content: the entries, one after another.
        lengths: of the entries.
        codes: for each row, the number of its entry, from 1; 0 for none.
    """

    content: Bytes
    lengths: Integers
    codes: Codes

    @classmethod
    def of_rows(cls, content: Bytes, lengths: Integers, absent: Mask | None) -> _Part:
        """Each row has an entry of its own, but those that are absent."""
        codes = np.arange(1, len(lengths) + 1, dtype=np.int32)
        return cls(content, lengths, codes).without(absent)

    def row_lengths(self) -> Integers:
        """Length of each row's piece."""
        return np.concatenate([_NONE, self.lengths])[self.codes]

    def without(self, absent: Mask | None) -> _Part:
        """The part with no piece in some of the rows."""
        if absent is None:
            return self
        return _Part(self.content, self.lengths, np.where(absent, np.int32(0), self.codes))


def _gathered(parts: list[_Part], rows: int) -> pa.LargeBinaryArray:
    """The pieces of each row, one after another."""
    content = np.concatenate([part.content for part in parts])
    # Before the entries of each part stands one of no bytes, for the rows that have none.
    lengths = np.concatenate([array for part in parts for array in (_NONE, part.lengths)])
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    table = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )
    places = np.empty((rows, len(parts)), np.int32 if len(lengths) < 1 << 31 else np.int64)
    base = 0
    for number, part in enumerate(parts):
        np.add(part.codes, base, out=places[:, number])
        base += len(part.lengths) + 1
    pieces = table.take(pa.array(places.reshape(-1)))
    bounds = np.ascontiguousarray(offsets_of(pieces)[:: len(parts)])
    data = pieces.buffers()[2] if len(pieces) else None
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), rows, [None, pa.py_buffer(bounds), data if data is not None else pa.py_buffer(b"")]
    )


def _by_length(lengths: Integers, render: Callable[[int], bytes]) -> _Part:
    """`render(length)` for each row, called once for each different length."""
    largest = int(lengths.max(initial=0))
    if largest <= _TABLE_LENGTHS:
        distinct = np.flatnonzero(np.bincount(lengths, minlength=1))
        positions = np.zeros(largest + 1, np.int64)
        positions[distinct] = np.arange(len(distinct))
        codes = positions[lengths]
    else:
        distinct, codes = np.unique(lengths, return_inverse=True)
    rendered = [render(int(length)) for length in distinct]
    content = np.frombuffer(b"".join(rendered), np.uint8)
    return _Part(content, np.fromiter(map(len, rendered), np.int64, len(rendered)), (codes + 1).astype(np.int32))


def _order(name: str) -> bytes:
    """What features are sorted by: their names' bytes, a name before its own beginnings ("age_group" before "age").

    protobuf's own implementations differ in that last point; this is the order of upb, which Python uses.
    """
    return name.encode() + b"\xff"


def _encode_column(name: str, column: pa.Array) -> list[_Part]:
    """The wire bytes of a column's map entries, as one or two parts; nothing where it is null."""
    if _has_few_values(column):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type) and len(column.dictionary) <= len(column):
        return _encode_distinct(name, convert(name, column.dictionary), column.indices)
    column = convert(name, column)
    if pa.types.is_null(column.type):
        return []
    if pa.types.is_large_list(column.type):
        return _encode_lists(name, column)
    return _encode_values(name, column)


def _has_few_values(column: pa.Array) -> bool:
    """Whether some rows suggest that it pays to encode each different value once. Floats are fast anyway."""
    kind = column.type
    if len(column) < 2 * _SAMPLE or not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        return False
    return len(pc.unique(column.slice(len(column) // 2, _SAMPLE))) <= _SAMPLE // 2


def _encode_distinct(name: str, values: pa.Array, indices: pa.Array) -> list[_Part]:
    """A column by its different values."""
    if pa.types.is_null(values.type):
        return []
    joined = _gathered(_encode_values(name, values), len(values))
    # An index may be null, and so may the value that it stands for, whose entry has no bytes.
    codes = _values(indices.cast(pa.int32()), np.int32) + np.int32(1)
    content = np.frombuffer(joined.buffers()[2], np.uint8)
    return [_Part(content, np.diff(offsets_of(joined)), codes).without(_absent(indices))]


def _encode_values(name: str, column: pa.Array) -> list[_Part]:
    if pa.types.is_float32(column.type):
        return [_encode_floats(name, column)]
    if pa.types.is_int64(column.type):
        return [_encode_integers(name, column)]
    return _encode_bytes(name, column)


def _encode_floats(name: str, column: pa.Array) -> _Part:
    header = _header(name, _FLOAT_LIST, 4)
    entry = np.dtype([("header", f"V{len(header)}"), ("value", "<f4")])
    entries = np.empty(len(column), entry)
    entries["header"] = np.void(header)
    entries["value"] = _values(column, np.float32)
    return _Part.of_rows(entries.view(np.uint8), np.full(len(column), entry.itemsize), _absent(column))


def _encode_integers(name: str, column: pa.Array) -> _Part:
    values = _values(column, np.int64)
    lengths = varint_lengths(values)
    codes = np.empty(len(values), np.int32)
    contents: list[Bytes] = [np.zeros(0, np.uint8)]
    sizes: list[Integers] = [np.zeros(0, np.int64)]
    done = 1
    # Entries of one length are a matrix: the table has them together, whatever rows they stand for.
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        rows = np.flatnonzero(lengths == length)
        header = _header(name, _INT64_LIST, length)
        matrix = np.empty((len(rows), len(header) + length), np.uint8)
        matrix[:, : len(header)] = np.frombuffer(header, np.uint8)
        render_varints(values[rows], length, matrix[:, len(header) :])
        contents.append(matrix.reshape(-1))
        sizes.append(np.full(len(rows), matrix.shape[1]))
        codes[rows] = np.arange(done, done + len(rows), dtype=np.int32)
        done += len(rows)
    return _Part(np.concatenate(contents), np.concatenate(sizes), codes).without(_absent(column))


def _encode_bytes(name: str, column: pa.Array) -> list[_Part]:
    absent = _absent(column)
    content, lengths = _contents(column)
    header = _by_length(lengths, lambda length: _header(name, _BYTES_LIST, length))
    return [header.without(absent), _Part.of_rows(content, lengths, absent)]


def _encode_lists(name: str, column: pa.LargeListArray) -> list[_Part]:
    values, offsets = column.values, np.asarray(column.offsets)
    if pa.types.is_null(values.type):
        # Lists of which none has a value do not say what they would be lists of.
        values = pa.array([], pa.int64())
    if pa.types.is_float32(values.type):
        kind, content, bounds = _FLOAT_LIST, _values(values, np.float32).view(np.uint8), offsets * 4
    elif pa.types.is_int64(values.type):
        kind = _INT64_LIST
        numbers = _values(values, np.int64)
        lengths = varint_lengths(numbers)
        matrix = np.zeros((len(numbers), int(lengths.max(initial=0))), np.uint8)
        for length in np.flatnonzero(np.bincount(lengths, minlength=1)).tolist():
            rows = np.flatnonzero(lengths == length)
            part = np.empty((len(rows), length), np.uint8)
            render_varints(numbers[rows], length, part)
            matrix[rows, :length] = part
        content = matrix[np.arange(matrix.shape[1]) < lengths[:, None]]
        bounds = np.concatenate([offsets[:1], np.cumsum(lengths)])[offsets]
    else:
        kind = _BYTES_LIST
        values_content, lengths = _contents(values)
        before = _by_length(lengths, lambda length: _FIELD_1 + varint(length))
        joined = _gathered([before, _Part.of_rows(values_content, lengths, None)], len(values))
        content, bounds = np.frombuffer(joined.buffers()[2], np.uint8), offsets_of(joined)[offsets]
    absent = _absent(column)
    sizes = np.diff(bounds)
    header = _by_length(sizes, lambda length: _list_header(name, kind, length))
    return [header.without(absent), _Part.of_rows(content, sizes, absent)]


def _list_header(name: str, kind: bytes, length: int) -> bytes:
    """All that stands before the values of a list, which take `length` bytes; bytes bring their own lengths."""
    if kind == _BYTES_LIST or not length:
        return _entry_header(name, kind + varint(length), length)
    return _header(name, kind, length)


def _header(name: str, kind: bytes, length: int) -> bytes:
    """All that stands before a value of `length` bytes in its entry of `Features.feature`."""
    values = _FIELD_1 + varint(length)
    return _entry_header(name, kind + varint(len(values) + length) + values, length)


def _entry_header(name: str, feature: bytes, length: int) -> bytes:
    key = name.encode()
    entry = _FIELD_1 + varint(len(key)) + key + _FIELD_2 + varint(len(feature) + length) + feature
    return _FIELD_1 + varint(len(entry) + length) + entry


def _absent(column: pa.Array) -> Mask | None:
    if not column.null_count:
        return None
    absent: Mask = pc.is_null(column).to_numpy(zero_copy_only=False)
    return absent


def _values(column: pa.Array, kind: type[_Number]) -> npt.NDArray[_Number]:
    """The values of a column of numbers, as they are, with whatever lies under nulls."""
    if not len(column):
        return np.zeros(0, kind)
    width = np.dtype(kind).itemsize
    return np.frombuffer(column.buffers()[1], kind, count=len(column), offset=column.offset * width)


def _contents(column: pa.LargeBinaryArray) -> tuple[Bytes, Integers]:
    """All bytes of a column, one value after another, and the values' lengths, with what lies under nulls."""
    offsets = offsets_of(column)
    first, last = int(offsets[0]), int(offsets[-1])
    buffer = column.buffers()[2]
    content = np.frombuffer(buffer, np.uint8)[first:last] if last > first else np.zeros(0, np.uint8)
    return content, np.diff(offsets)
