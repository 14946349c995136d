"""Encodes Arrow record batches as serialized tf.train.Example, column by column.

Each column becomes the wire bytes of its entries in the map `Features.feature`, for all rows at once, and the columns
are joined row by row in C++. Entries are sorted as protobuf for Python sorts them, so the bytes are those of its
deterministic serialization.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]

# Tags of the wire format, (field number << 3) | 2: every field on the way is length-delimited.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
# Which field of Feature holds the list of each kind.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"
_MAX_VARINT = 10
# Lengths up to this are looked up in a table; longer ones are sorted, which costs more than the table's memory.
_TABLE_LENGTHS = 1 << 16


def encode(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Serializes each row as one tf.train.Example.

    Args:
        batch: columns of float32 (float_list), int64 (int64_list), string or binary (bytes_list), small or large.
            A null means that the row's Example does not have the feature.

    Returns:
        As many values as the batch has rows, equal to `Example.SerializeToString(deterministic=True)`.

    Raises:
        TypeError: a column of another type.
        ValueError: two columns of one name.
    """
    names = batch.schema.names
    if len(set(names)) != len(names):
        raise ValueError(f"feature names must differ, got {sorted(names)}")
    lengths = np.zeros(batch.num_rows, np.int64)
    pieces: list[pa.LargeBinaryArray] = []
    for name in sorted(names, key=_order):
        column_pieces = _encode_column(name, batch.column(name))
        pieces.extend(column_pieces)
        for piece in column_pieces:
            lengths += _lengths(piece)
    header = by_length(lengths, lambda length: _FIELD_1 + _varint(length))
    return _join([header, *pieces])


def by_length(lengths: Integers, render: Callable[[int], bytes]) -> pa.LargeBinaryArray:
    """`render(length)` for each row, called once for each different length."""
    largest = int(lengths.max(initial=0))
    if largest <= _TABLE_LENGTHS:
        distinct = np.flatnonzero(np.bincount(lengths, minlength=1))
        positions = np.zeros(largest + 1, np.int64)
        positions[distinct] = np.arange(len(distinct))
        indices = positions[lengths]
    else:
        distinct, indices = np.unique(lengths, return_inverse=True)
    rendered = pa.array([render(int(length)) for length in distinct], pa.large_binary())
    return rendered.take(pa.array(indices, pa.int64()))


def offsets_of(array: pa.LargeBinaryArray) -> Integers:
    """The n + 1 offsets of an array's values in its data buffer; null and empty values have length 0."""
    if len(array) == 0:
        return np.zeros(1, np.int64)
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, np.int64, count=len(array) + 1, offset=array.offset * 8)


def _order(name: str) -> bytes:
    """What features are sorted by: their names' bytes, a name before its own beginnings ("age_group" before "age").

    protobuf's own implementations differ in that last point; this is the order of upb, which Python uses.
    """
    return name.encode() + b"\xff"


def _encode_column(name: str, column: pa.Array) -> list[pa.LargeBinaryArray]:
    """The wire bytes of a column's map entries, as one or more pieces to be joined; nothing where it is null."""
    kind = column.type
    if pa.types.is_float32(kind):
        return _encode_floats(name, column)
    if pa.types.is_int64(kind):
        return _encode_integers(name, column)
    if (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        return _encode_bytes(name, column)
    raise TypeError(f"column {name!r} must be float32, int64, string or binary, got {kind}")


def _encode_floats(name: str, column: pa.Array) -> list[pa.LargeBinaryArray]:
    present = _present(column)
    # fill_null keeps the bits of NaN payloads, which to_numpy would keep too, but not for an array with nulls.
    values = column.fill_null(0.0).to_numpy(zero_copy_only=False)[present]
    header = _header(name, _FLOAT_LIST, 4)
    matrix = np.empty((len(values), len(header) + 4), np.uint8)
    matrix[:, : len(header)] = np.frombuffer(header, np.uint8)
    matrix[:, len(header) :] = values.astype("<f4", copy=False).view(np.uint8).reshape(-1, 4)
    return [_from_lengths(np.where(present, matrix.shape[1], 0), matrix.reshape(-1))]


def _encode_integers(name: str, column: pa.Array) -> list[pa.LargeBinaryArray]:
    present = _present(column)
    # Negative numbers are written as their 64-bit two's complement, in 10 bytes.
    values = column.fill_null(0).to_numpy(zero_copy_only=False)[present].view(np.uint64)
    places = np.arange(_MAX_VARINT, dtype=np.uint64) * np.uint64(7)
    groups = values[:, None] >> places
    used = groups != 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    matrix = (groups & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
    lengths = np.zeros(len(column), np.int64)
    lengths[present] = used.sum(axis=1)
    body = _from_lengths(lengths, matrix[used])
    return [by_length(lengths, lambda length: _header(name, _INT64_LIST, length) if length else b""), body]


def _encode_bytes(name: str, column: pa.Array) -> list[pa.LargeBinaryArray]:
    values = column.cast(pa.large_binary())
    # An empty value is a feature all the same, so null needs a length of its own.
    lengths = np.where(_present(values), _lengths(values) + 1, 0)
    header = by_length(lengths, lambda length: _header(name, _BYTES_LIST, length - 1) if length else b"")
    return [header, values]


def _header(name: str, kind: bytes, length: int) -> bytes:
    """All that stands before a value of `length` bytes in its entry of `Features.feature`."""
    key = name.encode()
    values = _FIELD_1 + _varint(length)
    feature = kind + _varint(len(values) + length) + values
    entry = _FIELD_1 + _varint(len(key)) + key + _FIELD_2 + _varint(len(feature) + length) + feature
    return _FIELD_1 + _varint(len(entry) + length) + entry


def _varint(value: int) -> bytes:
    """A number of 0 or more as a base-128 varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _present(column: pa.Array) -> npt.NDArray[np.bool_]:
    present: npt.NDArray[np.bool_] = pc.is_valid(column).to_numpy(zero_copy_only=False)
    return present


def _lengths(array: pa.LargeBinaryArray) -> Integers:
    """Length of each value; 0 for a null, whatever bytes its slot may cover."""
    lengths = np.diff(offsets_of(array))
    return np.where(_present(array), lengths, 0) if array.null_count else lengths


def _from_lengths(lengths: Integers, values: npt.NDArray[np.uint8]) -> pa.LargeBinaryArray:
    """An array over `values`, cut into pieces of `lengths`, without a copy."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    )


def _join(pieces: list[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """The pieces of each row, one after another; a null adds nothing."""
    separator = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(*pieces, separator, null_handling="replace", null_replacement="")
