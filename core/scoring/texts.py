"""Text columns: converts Arrow columns to a model's texts, plain or dictionary-encoded; without TensorFlow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError
from headrace.core.saved_model.interface import ModelInput
from headrace.core.values.columns import Mask, as_text, logical, respell
from headrace.core.values.mixed import is_mixed


def texts_of(name: str, taken: ModelInput, column: pa.Array) -> tuple[pa.Array, Mask | None]:
    """Converts a column to the texts of an input.

    Args:
        name: the column's name.
        taken: the input.
        column: of any type that can be converted to text.

    Returns:
        [rows] of strings or binary, plain or dictionary-encoded, "" where missing, never null. And the mask of missing
        values, None if no value is missing.

    Raises:
        DataError: the type cannot be converted to text.
    """
    if pa.types.is_dictionary(column.type):
        if not column.dictionary.null_count:
            return _from_codes(column, as_strings(name, taken, column.dictionary))
        column = column.dictionary_decode()
    text = as_strings(name, taken, column)
    lengths = pc.binary_length(text)
    if not text.null_count and (not len(text) or pc.min(lengths).as_py() > 0):
        return text, None
    missing: Mask = pc.equal(lengths, 0).fill_null(True).to_numpy(zero_copy_only=False)
    return text.fill_null("") if text.null_count else text, missing


def _from_codes(column: pa.DictionaryArray, words: pa.Array) -> tuple[pa.Array, Mask | None]:
    """As `texts_of`, for a dictionary's codes with other values."""
    codes = column.indices
    # Such as NaN.
    words = words.fill_null("")
    if column.null_count:
        codes = codes.cast(pa.int64()).fill_null(len(words))
        words = pa.concat_arrays([words, pa.array([""], words.type)])
    empty = pc.equal(pc.binary_length(words), 0).to_numpy(zero_copy_only=False)
    missing = empty[codes.to_numpy(zero_copy_only=False)] if empty.any() else np.zeros(0, np.bool_)
    return pa.DictionaryArray.from_arrays(codes, words), missing if missing.any() else None


def as_strings(name: str, taken: ModelInput, column: pa.Array) -> pa.Array:
    """Text as preprocessing writes it, typed values as the model's categories spell them, and bytes unchanged.

    Raises:
        DataError: the type cannot be converted to text, or a value matches several of the model's categories.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column
    try:
        plain = column if is_mixed(kind) else logical(column)
        if pa.types.is_large_binary(plain.type):
            return plain.cast(pa.binary())
        if pa.types.is_string(plain.type) or pa.types.is_binary(plain.type):
            return plain
        text = as_text(plain).cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(
            f"a column of {kind} is not what the model accepts",
            where=name,
            expected=f"text, numbers or booleans, for the model's input {taken.name} string",
            received=f"a column of {kind}",
        ) from error
    return respell(name, column, text, taken.spellings)


def spread(flat: pa.Array, width: int, bad: Mask) -> tuple[pa.Array, ...]:
    """The texts of lists as one array per list position; `bad` rows get arbitrary values.

    Args:
        flat: [good rows * width].
        width: length of each list.
        bad: [rows].
    """
    at = np.where(bad, 0, np.cumsum(~bad) - 1) * width
    if len(flat) == 0:
        return tuple(pa.array([""] * len(bad), flat.type) for _ in range(width))
    return tuple(flat.take(pa.array(at + column)) for column in range(width))
