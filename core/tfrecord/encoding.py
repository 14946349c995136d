"""Example encoding: Arrow record batches to serialized tf.train.Example, column by column.

Each column becomes a table of wire bytes, with one entry per distinct value where these are few, and the index of the
entry for each row. Then all entries of all rows are copied to their positions by one gather in C++. Entries are sorted
as protobuf for Python sorts them, so the bytes equal its deterministic serialization.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.tfrecord import native, native_encoding
from headrace.core.tfrecord.conversion import convert
from headrace.core.tfrecord.pieces import DictionaryPiece, Mask, contents, data_of, join, offsets_of
from headrace.core.tfrecord.varints import render_varints, varint, varint_lengths

_Number = TypeVar("_Number", np.float32, np.int32, np.int64)

# Tags of the wire format, (field number << 3) | 2: every field is length-delimited.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
# Tag of the field of Feature that holds the list of each kind.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"
# A column is encoded by its distinct values where so many rows in its middle have at most half as many of them.
_SAMPLE = 256
_COUNTABLE = (
    pa.types.is_integer,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


def encode(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Serializes each row as one tf.train.Example.

    Args:
        batch: columns of the types that `conversion.convert` accepts: numbers become float_list or int64_list, texts
            and bytes bytes_list. For a null, the row's Example does not have the feature; for an empty list, it has
            the feature without a value.

    Returns:
        As many values as the batch has rows, equal to `Example.SerializeToString(deterministic=True)`.

    Raises:
        DataError: a column of a type that an Example cannot hold, or a value beyond int64; the message has its name.
        ValueError: two columns of one name.
    """
    parts = features(batch)
    lengths = np.zeros(batch.num_rows, np.int64)
    for part in parts:
        lengths += part.row_lengths()
    return join([DictionaryPiece.by_length(lengths, example_header), *parts], batch.num_rows)


def features(batch: pa.RecordBatch) -> list[DictionaryPiece]:
    """Each row's Example without its header: the map entries of Features, in order. Raises as `encode`."""
    names = batch.schema.names
    if len(set(names)) != len(names):
        raise ValueError(f"feature names must differ, got {sorted(names)}")
    parts: list[DictionaryPiece] = []
    for name in sorted(names, key=_order):
        parts.extend(_encode_column(name, batch.column(name)))
    return parts


def example_header(length: int) -> bytes:
    """The header of an Example whose map entries have `length` bytes."""
    return _FIELD_1 + varint(length)


def _order(name: str) -> bytes:
    """Sort key of features: their names' bytes, a name before its own prefixes ("age_group" before "age").

    protobuf's own implementations differ in that last point; this is the order of upb, which Python uses.
    """
    return name.encode() + b"\xff"


def _encode_column(name: str, column: pa.Array) -> list[DictionaryPiece]:
    """The wire bytes of a column's map entries, as one or two parts; empty for a column of type null."""
    column = _by_values(column)
    if pa.types.is_dictionary(column.type) and len(column.dictionary) <= len(column):
        return _encode_distinct(name, convert(name, column.dictionary), column.indices)
    column = convert(name, column)
    if pa.types.is_null(column.type):
        return []
    if pa.types.is_large_list(column.type):
        return _encode_lists(name, column)
    return _encode_values(name, column)


def _by_values(column: pa.Array) -> pa.Array:
    """The column as a dictionary, where a sample suggests that it pays to encode each distinct value once."""
    kind = column.type
    if len(column) < 2 * _SAMPLE:
        return column
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        # Compared by bits: as numbers, -0.0 equals 0.0, and all NaNs are the same.
        bits = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        if not _has_few_values(bits):
            return column
        encoded = bits.dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.view(kind))
    if not any(holds(kind) for holds in _COUNTABLE):
        return column
    return column.dictionary_encode() if _has_few_values(column) else column


def _has_few_values(column: pa.Array) -> bool:
    return len(pc.unique(column.slice(len(column) // 2, _SAMPLE))) <= _SAMPLE // 2


def _encode_distinct(name: str, values: pa.Array, indices: pa.Array) -> list[DictionaryPiece]:
    """Encodes a column by its distinct values."""
    if pa.types.is_null(values.type):
        return []
    # An index may be null, and so may the value at an index, whose entry has no bytes.
    codes = _values(indices.cast(pa.int32()), np.int32) + np.int32(1)
    parts = _encode_values(name, values)
    if len(parts) == 1:
        return [parts[0].chosen(codes).without(_absent(indices))]
    joined = join(parts, len(values))
    content = np.frombuffer(data_of(joined), np.uint8)
    return [DictionaryPiece(content, np.diff(offsets_of(joined)), codes).without(_absent(indices))]


def _encode_values(name: str, column: pa.Array) -> list[DictionaryPiece]:
    if pa.types.is_float32(column.type):
        return [_encode_floats(name, column)]
    if pa.types.is_int64(column.type):
        return [_encode_integers(name, column)]
    return _encode_bytes(name, column)


def _encode_floats(name: str, column: pa.Array) -> DictionaryPiece:
    header = _header(name, _FLOAT_LIST, 4)
    entry = np.dtype([("header", f"V{len(header)}"), ("value", "<f4")])
    entries = np.empty(len(column), entry)
    entries["header"] = np.void(header)
    entries["value"] = _values(column, np.float32)
    return DictionaryPiece.of_rows(entries.view(np.uint8), np.full(len(column), entry.itemsize), _absent(column))


def _encode_integers(name: str, column: pa.Array) -> DictionaryPiece:
    values = _values(column, np.int64)
    compiled = native.library()
    if compiled is not None:
        headers = [_header(name, _INT64_LIST, length) for length in range(11)]
        return DictionaryPiece.of_rows(*native_encoding.integers(compiled, values, headers), _absent(column))
    lengths = varint_lengths(values)
    varints = render_varints(values, lengths)
    headers = [_header(name, _INT64_LIST, length) for length in range(varints.shape[1] + 1)]
    before = max(map(len, headers))
    # Each entry has a row of a matrix, its header to the left of one column, its varint to the right of it. The gaps
    # around them are entries of the table too, which no row of the batch refers to.
    by_length = np.frombuffer(b"".join(header.rjust(before) for header in headers), f"V{before}")
    matrix = np.empty((len(values), before + varints.shape[1]), np.uint8)
    matrix[:, :before] = by_length.take(lengths).view(np.uint8).reshape(-1, before)
    matrix[:, before:] = varints
    starts = before - np.array([len(header) for header in headers]).take(lengths)
    bounds = np.zeros(2 * len(values) + 2, np.int64)
    rows = np.arange(len(values)) * matrix.shape[1]
    bounds[1:-1:2] = rows + starts
    bounds[2:-1:2] = rows + (before + lengths)
    bounds[-1] = matrix.size
    codes = np.arange(2, 2 * len(values) + 2, 2, dtype=np.int32)
    return DictionaryPiece(matrix.reshape(-1), np.diff(bounds), codes).without(_absent(column))


def _encode_bytes(name: str, column: pa.Array) -> list[DictionaryPiece]:
    absent = _absent(column)
    content, lengths = contents(column)
    header = DictionaryPiece.by_length(lengths, lambda length: _header(name, _BYTES_LIST, length))
    return [header.without(absent), DictionaryPiece.of_rows(content, lengths, absent)]


def _encode_lists(name: str, column: pa.LargeListArray) -> list[DictionaryPiece]:
    values, offsets = column.values, np.asarray(column.offsets)
    if pa.types.is_null(values.type):
        # Lists without any value have no type of values.
        values = pa.array([], pa.int64())
    if pa.types.is_float32(values.type):
        kind, content, bounds = _FLOAT_LIST, _values(values, np.float32).view(np.uint8), offsets * 4
    elif pa.types.is_int64(values.type):
        kind = _INT64_LIST
        numbers = _values(values, np.int64)
        lengths = varint_lengths(numbers)
        varints = render_varints(numbers, lengths)
        content = varints[np.arange(varints.shape[1]) < lengths[:, None]]
        bounds = np.concatenate([offsets[:1], np.cumsum(lengths)])[offsets]
    else:
        kind = _BYTES_LIST
        values_content, lengths = contents(values)
        before = DictionaryPiece.by_length(lengths, lambda length: _FIELD_1 + varint(length))
        joined = join([before, DictionaryPiece.of_rows(values_content, lengths, None)], len(values))
        content, bounds = np.frombuffer(data_of(joined), np.uint8), offsets_of(joined)[offsets]
    absent = _absent(column)
    sizes = np.diff(bounds)
    header = DictionaryPiece.by_length(sizes, lambda length: _list_header(name, kind, length))
    return [header.without(absent), DictionaryPiece.of_rows(content, sizes, absent)]


def _list_header(name: str, kind: bytes, length: int) -> bytes:
    """The header of a list whose values have `length` bytes; values of bytes_list include their own lengths."""
    if kind == _BYTES_LIST or not length:
        return _entry_header(name, kind + varint(length), length)
    return _header(name, kind, length)


def _header(name: str, kind: bytes, length: int) -> bytes:
    """The header of a single value of `length` bytes in its entry of `Features.feature`."""
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
    """The values buffer of a numeric column, including arbitrary values under nulls."""
    if not len(column):
        return np.zeros(0, kind)
    width = np.dtype(kind).itemsize
    return np.frombuffer(column.buffers()[1], kind, count=len(column), offset=column.offset * width)
