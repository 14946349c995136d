"""Numbers and integers of an Arrow column: text is parsed as numbers, and integers are exact to 64 bits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.values.columns import Mask, is_text, logical, nulls_of
from headrace.core.values.columns import mask_of as _mask
from headrace.core.values.mixed import is_mixed, numbers_as_texts

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INFINITY = r"^[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?$"
# Number of digits that always fit in 64 bits; larger integers are parsed one by one.
_DIGITS = r"^[+-]?[0-9]{1,18}$"
# Powers of ten above this exceed all integer types, and would be expanded to digits.
_MAXIMUM_EXPONENT = 40


@dataclass(frozen=True)
class Integers:
    """The integers in a column.

    Attributes:
        values: [rows] of int64, or uint64 if requested; 0 where a mask is set.
        missing: values that are null, NaN or blank text.
        wrong: values that are not whole numbers.
        beyond: whole numbers outside the type's range.
    """

    values: npt.NDArray[np.int64 | np.uint64]
    missing: Mask
    wrong: Mask
    beyond: Mask


def parse_numbers(column: pa.Array) -> tuple[npt.NDArray[np.float64], Mask, Mask]:
    """The numbers in a column as the nearest float64; which values are missing; and which are not finite numbers.

    Raises:
        pa.ArrowNotImplementedError: the type holds neither numbers nor text.
    """
    column = logical(numbers_as_texts(column) if is_mixed(column.type) else column)
    kind = column.type
    missing = nulls_of(column)
    wrong = np.zeros(len(column), np.bool_)
    textual = is_text(kind)
    if textual:
        try:
            parsed = column.cast(pa.float64())
        except pa.ArrowInvalid:
            # Arrow refuses at least one value, so each value is checked.
            text, missing, numeric = _numeric_texts(column)
            wrong = ~missing & ~numeric
            parsed = pc.if_else(pa.array(numeric), text, None).cast(pa.float64())
    elif pa.types.is_decimal(kind):
        # Arrow's cast multiplies by a power of ten, which rounds twice.
        parsed = column.cast(pa.string()).cast(pa.float64())
    else:
        parsed = column.cast(pa.float64(), safe=False)
    values = parsed.to_numpy(zero_copy_only=False)
    finite = np.isfinite(values)
    if finite.all():
        # Then no value is missing or wrong: these became NaN.
        return values, missing, wrong
    not_a_number = np.isnan(values)
    # The text "NaN" is not a number: the Problem declares which texts are missing.
    wrong = wrong | (not_a_number & ~missing & textual)
    missing = missing | (not_a_number & ~wrong)
    infinite = ~finite & ~not_a_number
    if infinite.any():
        # 1e400 is a number out of range and also becomes infinite; "inf" is not a number.
        wrong = wrong | (_mask(pc.match_substring_regex(column, _INFINITY)) if textual else infinite)
    return np.where(missing | wrong, 0.0, values), missing, wrong


def parse_integers(column: pa.Array, dtype: str) -> Integers:
    """The integers in a column: whole numbers of any type, or their text, each exact independent of other values.

    Args:
        column: numbers, booleans, decimals or text.
        dtype: of numpy, such as "int64".
    """
    column = logical(numbers_as_texts(column) if is_mixed(column.type) else column)
    kind = column.type
    bounds = np.iinfo(dtype)
    wide: np.dtype[np.int64 | np.uint64] = np.dtype(np.uint64 if dtype == "uint64" else np.int64)
    nothing = np.zeros(len(column), np.bool_)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        missing = _mask(pc.is_null(column))
        plain = column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column
        values = plain.fill_null(0).to_numpy(zero_copy_only=False)
        beyond = (values < bounds.min) | (values > bounds.max)
        return Integers(np.where(beyond, 0, values).astype(wide), missing, nothing, beyond)
    if pa.types.is_floating(kind):
        return _whole_floats(column, bounds, wide)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    elif (quick := _plain_digits(column, wide)) is not None:
        beyond = (quick < bounds.min) | (quick > bounds.max)
        return Integers(np.where(beyond, 0, quick), _mask(pc.is_null(column)), nothing, beyond)
    text, missing, numeric = _numeric_texts(column)
    if _mask(pc.ends_with(text, "0")).any() or _mask(pc.ends_with(text, ".")).any():
        text = pc.replace_substring_regex(text, r"^([+-]?[0-9]+)\.0*$", r"\1")
    values = np.zeros(len(column), wide)
    digits = _mask(pc.match_substring_regex(text, _DIGITS))
    unsigned = pc.utf8_ltrim(text, "+") if _mask(pc.starts_with(text, "+")).any() else text
    short = pc.if_else(pa.array(digits), unsigned, None).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    beyond = digits & ((short < bounds.min) | (short > bounds.max))
    values[:] = np.where(beyond, 0, short)
    wrong = ~missing & ~numeric
    for row in np.flatnonzero(numeric & ~digits).tolist():
        whole = _whole(text[row].as_py())
        if whole is None:
            wrong[row] = True
        elif bounds.min <= whole <= bounds.max:
            values[row] = whole
        else:
            beyond[row] = True
    return Integers(values, missing, wrong, beyond)


def _plain_digits(column: pa.Array, wide: np.dtype[np.int64 | np.uint64]) -> npt.NDArray[np.int64 | np.uint64] | None:
    """The integers of a column whose texts are all digits; None if one is not, because Arrow reads 0x10 as 16."""
    try:
        values = column.cast(pa.from_numpy_dtype(wide))
    except pa.ArrowInvalid:
        return None
    if pc.any(pc.match_substring(column, "x", ignore_case=True)).as_py():
        return None
    integers: npt.NDArray[np.int64 | np.uint64] = values.fill_null(0).to_numpy(zero_copy_only=False)
    return integers


def _whole_floats(column: pa.Array, bounds: np.iinfo[Any], wide: np.dtype[np.int64 | np.uint64]) -> Integers:
    plain = column.to_numpy(zero_copy_only=False).astype(np.float64)
    missing = np.isnan(plain)
    plain = np.where(missing, 0.0, plain)
    wrong = (np.floor(plain) != plain) | np.isinf(plain)
    # The maximum int64 is not a float64: the nearest one is above it.
    beyond = ~wrong & ((plain < bounds.min) | (plain >= float(bounds.max) + 1))
    return Integers(np.where(wrong | beyond, 0.0, plain).astype(wide), missing, wrong, beyond)


def _whole(text: str) -> int | None:
    """The whole number of a text; a number beyond all integer types for a larger one; None for a fraction."""
    value = Decimal(text)
    if not value or value.adjusted() >= _MAXIMUM_EXPONENT:
        return 0 if not value else 10**_MAXIMUM_EXPONENT * (-1 if value < 0 else 1)
    if value.adjusted() < 0:
        return None
    whole = int(value)
    return whole if value == whole else None


def _numeric_texts(column: pa.Array) -> tuple[pa.Array, Mask, Mask]:
    """Texts without surrounding blanks; which are missing; and which of the others are numbers."""
    text = pc.ascii_trim_whitespace(column)
    missing = _mask(pc.is_null(column)) | _mask(pc.equal(text, ""))
    return text, missing, _mask(pc.match_substring_regex(text, _NUMBER)) & ~missing
