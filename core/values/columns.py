"""Arrow columns converted to texts, and their values to JSON, a column at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError
from headrace.core.values.mixed import blanked, is_mixed, texts_in, typed_in
from headrace.core.values.scalars import text_of

Mask = npt.NDArray[np.bool_]

# Between these limits Arrow formats a fraction as Python does; outside them it uses an exponent.
_PLAIN_MINIMUM, _PLAIN_MAXIMUM = 1e-4, 1e14
_HEXADECIMAL = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), "S2")
_SECONDS = {unit: Decimal(1).scaleb(-digits) for unit, digits in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9))}
# Positions of the 16 bytes of a UUID in its text of 36 characters.
_UUID_PLACES = (0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34)


def logical(column: pa.Array) -> pa.Array:
    """A column in its logical type: without dictionaries, runs, views or extensions.

    UUIDs are texts, and durations are seconds, as decimals.
    """
    kind = column.type
    if is_mixed(kind):
        return texts_in(column)
    if isinstance(kind, pa.BaseExtensionType):
        storage = column.storage
        if kind.extension_name == "arrow.uuid":
            return _uuid_texts(storage)
        return logical(pc.not_equal(storage, 0) if kind.extension_name == "arrow.bool8" else storage)
    if pa.types.is_dictionary(kind):
        return logical(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return logical(pc.run_end_decode(column))
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_duration(kind):
        # One duration is one number, whatever unit it is counted in.
        count = column.cast(pa.int64()).cast(pa.decimal128(19, 0))
        return pc.multiply(count, pa.scalar(_SECONDS[kind.unit], pa.decimal128(10, 9)))
    return column


def mask_of(values: pa.Array) -> Mask:
    """Booleans as a numpy mask, false for nulls."""
    mask: Mask = (values.fill_null(False) if values.null_count else values).to_numpy(zero_copy_only=False)
    return mask


def nulls_of(column: pa.Array) -> Mask:
    """Mask of the values that are null."""
    return mask_of(pc.is_null(column)) if column.null_count else np.zeros(len(column), np.bool_)


def without_empty(text: pa.Array) -> pa.Array:
    """Strings, null where they are empty."""
    empty = pc.equal(text, "")
    return pc.if_else(empty, None, text) if pc.any(empty).as_py() else text


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is text, in any physical form; text beside typed values is text."""
    if is_mixed(kind):
        return True
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return is_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return is_text(kind.storage_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type is bytes without another meaning, in any physical form."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return is_bytes(kind.value_type)
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return bool(plain or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind))


def blank(column: pa.Array, words: Collection[str]) -> pa.Array:
    """A column in which the texts for missing values, with or without blanks around them, are null."""
    if not words or not is_text(column.type):
        return column
    plain = logical(column)
    missing = pc.is_in(pc.utf8_trim_whitespace(plain), pa.array(sorted(words), plain.type))
    if is_mixed(column.type):
        return blanked(column, missing.to_numpy(zero_copy_only=False) & ~typed_in(column))
    return pc.if_else(missing, None, plain) if pc.any(missing).as_py() else column


def texts(column: pa.Array) -> tuple[pa.Array, Mask]:
    """The text of each value of a scalar column, and which values are bytes that are not UTF-8.

    Returns:
        [rows] of strings, null for missing values (including NaN) and values without text; and [rows].

    Raises:
        pa.ArrowNotImplementedError: the type has no text, such as a list.
    """
    column = logical(column)
    kind = column.type
    bad = np.zeros(len(column), np.bool_)
    if pa.types.is_string(kind):
        return column, bad
    if pa.types.is_nested(kind):
        raise pa.ArrowNotImplementedError(f"a column of {kind} has no text")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _utf8(column)
    if pa.types.is_decimal(kind):
        return _decimal_texts(column), bad
    if pa.types.is_floating(kind):
        return _float_texts(column), bad
    if pa.types.is_timestamp(kind) and kind.tz:
        # The same instants without a zone, which are in UTC.
        return pc.binary_join_element_wise(_time_texts(column.cast(pa.timestamp(kind.unit))), "Z", ""), bad
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return _time_texts(column), bad
    return column.cast(pa.string()), bad


def as_text(column: pa.Array) -> pa.Array:
    """The texts of `texts`; bytes that are not UTF-8 are an error.

    Raises:
        DataError: bytes are not UTF-8.
        pa.ArrowNotImplementedError: the type has no text, such as a list.
    """
    text, bad = texts(column)
    if bad.any():
        at = int(bad.argmax())
        raise DataError(
            "a column of bytes is not UTF-8", expected="text", received=ascii(logical(column)[at].as_py())[:80]
        )
    return text


def respell(name: str, column: pa.Array, text: pa.Array, spellings: Mapping[str, str]) -> pa.Array:
    """The texts of a column; typed values are replaced by categories with the same values, see `values.spellings`.

    Args:
        name: the column's name.
        column: the column; text in it is not replaced.
        text: its texts.
        spellings: of the categories.

    Raises:
        DataError: a value matches several categories.
    """
    if not spellings or not len(text):
        return text
    if is_mixed(column.type):
        typed = pa.array(typed_in(column))
        return pc.if_else(typed, _respelled(name, pc.if_else(typed, text, None), spellings), text)
    return text if is_text(column.type) else _respelled(name, text, spellings)


def _respelled(name: str, text: pa.Array, spellings: Mapping[str, str]) -> pa.Array:
    at = pc.index_in(text, pa.array(list(spellings), text.type))
    if at.null_count == len(at):
        return text
    spelled = pa.array(list(spellings.values()), text.type).take(at)
    ambiguous = pc.equal(spelled, "").fill_null(False)
    if pc.any(ambiguous).as_py():
        raise DataError(
            f'a value of the column "{name}" matches several categories',
            expected="one category per value, or a column of text",
            received=str(text.filter(ambiguous)[0].as_py()),
            fix="Write the column as text, as in the data from which the categories were learned",
        )
    return pc.coalesce(spelled, text)


def json_value(scalar: pa.Scalar) -> Any:
    """A value as a JSON value with the same text and number when it is read back.

    Values without a JSON type are text; bytes that are not UTF-8 are shown with escapes.
    """
    value = scalar.as_py()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        # JSON's own numbers are float64, also in a mixed column.
        width = 64 if is_mixed(scalar.type) else scalar.type.bit_width
        if width == 64 or value.is_integer():
            return value
        return float(str((np.float16 if width == 16 else np.float32)(value)))
    if isinstance(value, bytes) and not isinstance(scalar.type, pa.BaseExtensionType):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple | dict):
        return _nested(value)
    return texts(pa.array([value], scalar.type))[0][0].as_py()


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _nested(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(member) for member in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _utf8(column: pa.Array) -> tuple[pa.Array, Mask]:
    try:
        return column.cast(pa.string()), np.zeros(len(column), np.bool_)
    except pa.ArrowInvalid:
        decoded = [None if value is None else _decoded(value) for value in column.to_pylist()]
        text = pa.array(decoded, pa.string())
        bad: Mask = pc.and_(pc.is_null(text), pc.is_valid(column)).to_numpy(zero_copy_only=False)
        return text, bad


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _float_texts(column: pa.Array) -> pa.Array:
    kind = column.type
    narrow = column.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        values = narrow.astype(np.float64)
        absent = np.isnan(values)
        # Each is exact in 64 bits; larger numbers are rare.
        whole = (np.floor(values) == values) & (np.abs(values) < float(1 << 63))
        size = np.abs(values)
        plain = (size >= _PLAIN_MINIMUM) & (size < _PLAIN_MAXIMUM) & (not pa.types.is_float16(kind))
    integers = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole).cast(pa.string())
    if (whole | absent).all():
        return integers
    rest = ~whole & ~absent & ~plain
    fractions = pa.nulls(len(column), pa.string())
    if (plain & ~whole).any():
        fractions = pc.if_else(pa.array(plain & ~whole), column, None).cast(pa.string())
    text = pc.coalesce(integers, fractions)
    if rest.any():
        shortest: Callable[[Any], float] = float if narrow.dtype == np.float64 else (lambda value: float(str(value)))
        text = _replaced(text, rest, narrow[rest], lambda value: _fraction(value, shortest))
    return text


def _fraction(value: Any, shortest: Callable[[Any], float]) -> str:
    wide = float(value)
    # A whole number is exact; a fraction is the shortest text that identifies it at its width.
    return text_of(wide if wide.is_integer() or math.isinf(wide) else shortest(value))


def _replaced(text: pa.Array, at: Mask, values: npt.NDArray[Any], write: Callable[[Any], str]) -> pa.Array:
    """Replaces `text` at the rows `at` by the text of `values`, computed once per distinct value."""
    distinct, codes = np.unique(values, return_inverse=True)
    written = pa.array([write(value) for value in distinct], pa.string())
    return pc.replace_with_mask(text, pa.array(at), written.take(pa.array(codes.reshape(-1))))


def _decimal_texts(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    if column.type.scale > 0:
        text = pc.replace_substring_regex(text, r"^([^.eE]*)(\.[0-9]*[1-9])?\.?0*$", r"\1\2")
    small = pc.match_substring_regex(text, r"^-?0\.0000|[eE]").fill_null(False)
    if not pc.any(small).as_py():
        return text
    at = small.to_numpy(zero_copy_only=False)
    values = text.filter(small).to_numpy(zero_copy_only=False)
    return _replaced(text, at, values.astype(np.str_), lambda value: text_of(Decimal(str(value))))


def _time_texts(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    return text if column.type.unit == "s" else pc.replace_substring_regex(text, r"\.?0+$", "")


def _uuid_texts(storage: pa.Array) -> pa.Array:
    present = storage.is_valid().to_numpy(zero_copy_only=False)
    content = storage.fill_null(bytes(16)).cast(pa.binary())
    content = pa.concat_arrays([content])
    raw = np.frombuffer(content.buffers()[2] or b"", np.uint8, 16 * len(content)).reshape(-1, 16)
    written = np.full((len(raw), 36), ord("-"), np.uint8)
    pairs = _HEXADECIMAL[raw].view(np.uint8).reshape(len(raw), 16, 2)
    for byte, place in enumerate(_UUID_PLACES):
        written[:, place : place + 2] = pairs[:, byte]
    offsets = np.arange(len(raw) + 1, dtype=np.int32) * 36
    text = pa.StringArray.from_buffers(len(raw), pa.py_buffer(offsets), pa.py_buffer(written.tobytes()))
    return pc.if_else(pa.array(present), text, None)
