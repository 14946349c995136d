"""Type conversion from Arrow to tf.train.Example: each type becomes float32, int64 or bytes, or a list of these."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError

# Microseconds, the unit of BigQuery's TIMESTAMP, hold every year that Python's datetime has.
_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOSECONDS = 1_000

Target = Literal["float32", "int64", "bytes"]


def convert(name: str, array: pa.Array) -> pa.Array:
    """Converts a column to float32, int64 or large_binary, a large_list of one of these, or null.

    - float16, float64 and decimals: float32, rounded to the nearest; values beyond its range become infinite.
    - integers and booleans: int64.
    - dates: days since 1970-01-01.
    - timestamps: microseconds since 1970-01-01 UTC; times: microseconds since midnight; durations: microseconds. Parts
      of a microsecond are dropped, towards the past.
    - texts (UTF-8) and bytes of every width: bytes.
    - dictionaries, run-end encoded columns and extension types: as their values.

    Args:
        name: of the column, for errors.
        array: of any length.

    Raises:
        DataError: a type that an Example cannot hold (struct, map, union, interval, a list of lists); an unsigned
            integer or a time beyond int64; a null within a list.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return convert(name, array.storage)
    if pa.types.is_dictionary(kind):
        return convert(name, array.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return convert(name, pc.run_end_decode(array))
    if is_list(kind):
        return _convert_list(name, array)
    return _convert_values(name, array)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list, in any layout."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _convert_list(name: str, array: pa.Array) -> pa.Array:
    kind = array.type
    if is_list(kind.value_type):
        raise _refused(name, kind)
    # flatten accepts every layout and skips values under a null, so offsets are computed anew from the lengths.
    # Arrow 25's cast of a sliced list view gives negative offsets.
    values = convert(name, array.flatten())
    if values.null_count:
        raise DataError(
            "a list holds a null, which an Example cannot hold",
            where=f"column {name!r}",
            expected="lists without nulls",
            received=f"{values.null_count} nulls within lists",
            fix="Replace the nulls by a value, or remove them",
        )
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    mask = array.is_null() if array.null_count else None
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=mask)


def _convert_values(name: str, array: pa.Array) -> pa.Array:
    kind = array.type
    target = target_of(kind)
    if target is None:
        if pa.types.is_null(kind):
            return array
        raise _refused(name, kind)
    if target == "float32":
        if pa.types.is_decimal(kind):
            array = array.cast(pa.float64())
        return array.cast(pa.float32(), safe=False)
    if target == "bytes":
        if pa.types.is_string_view(kind):
            array = array.cast(pa.large_string())
        elif pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
            array = array.cast(pa.binary())
        return array.cast(pa.large_binary())
    try:
        return _to_int64(array)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"a value of type {kind} does not fit int64, the only integer that an Example holds",
            where=f"column {name!r}",
            expected="values from -9223372036854775808 to 9223372036854775807",
            received=str(error),
            fix="Cast the column to text, or to a float",
        ) from error


def target_of(kind: pa.DataType) -> Target | None:
    """The target of values of a type; None for null and for types that an Example cannot hold. For lists and
    dictionaries, call it with the type of their values."""
    types = pa.types
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float32"
    if types.is_integer(kind) or types.is_boolean(kind) or (types.is_temporal(kind) and not types.is_interval(kind)):
        return "int64"
    if (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return "bytes"
    return None


def _to_int64(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_date(kind):
        return array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    if not pa.types.is_temporal(kind):
        return array.cast(pa.int64())
    storage = pa.int32() if kind.bit_width == 32 else pa.int64()
    counts = array.view(storage).cast(pa.int64())
    if kind.unit == "ns":
        # Arrow's own division rounds towards zero, which would merge two microseconds around 1970.
        values = np.floor_divide(counts.fill_null(0).to_numpy(zero_copy_only=False), _NANOSECONDS)
        absent = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
        return pa.array(values, pa.int64(), mask=absent)
    factor = _PER_MICROSECOND[kind.unit]
    return counts if factor == 1 else pc.multiply_checked(counts, factor)


def _refused(name: str, kind: pa.DataType) -> DataError:
    return DataError(
        "an Example cannot hold a column of this type",
        where=f"column {name!r}",
        expected="numbers, booleans, texts, bytes, dates and times, dictionaries of these, or lists of these",
        received=str(kind),
        fix="Leave the column out, or make columns of its parts",
    )
