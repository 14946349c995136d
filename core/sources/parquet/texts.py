"""Texts of Parquet columns: a writer may store bytes that are not UTF-8 as text, which cost their rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.sources.faulty_rows import CheckedColumn, not_utf8
from headrace.core.values.columns import Mask, is_text, logical, nulls_of, texts


def checked(name: str, column: pa.Array) -> CheckedColumn:
    """A column in its plain physical form, except dictionaries, and the faults of rows with text that is not UTF-8.

    The values of these rows have no meaning.

    Args:
        name: of the column.
        column: as Parquet has it.
    """
    if pa.types.is_dictionary(column.type) and is_text(column.type):
        words, bad = _texts(column.dictionary)
        if bad is None:
            return column, {}
        codes = pc.if_else(pc.is_null(column.indices), 0, column.indices)
        rows = bad[codes.to_numpy(zero_copy_only=False)] & ~nulls_of(column.indices)
        kept = pa.DictionaryArray.from_arrays(column.indices, words.fill_null(""))
        return kept, {row: not_utf8(name, _bytes(column.dictionary, column.indices[row].as_py())) for row in _at(rows)}
    if is_text(column.type):
        # An extension's texts, and views, are checked in their plain form.
        plain = logical(column)
        words, bad = _texts(plain)
        return words, {} if bad is None else {row: not_utf8(name, _bytes(plain, row)) for row in _at(bad)}
    plain = column if pa.types.is_dictionary(column.type) else logical(column)
    if not _holds_text(plain.type) or _is_valid(plain):
        return plain, {}
    faults = {}
    for row in range(len(plain)):
        try:
            plain[row].as_py()
        except UnicodeDecodeError as error:
            faults[row] = not_utf8(name, error.object)
    return plain, faults


def written(column: pa.Array, row: int) -> Any:
    """A text that is not UTF-8, with escapes; None if it is within another value."""
    if pa.types.is_dictionary(column.type):
        return written(column.dictionary, column.indices[row].as_py())
    return _bytes(logical(column), row).decode(errors="backslashreplace") if is_text(column.type) else None


def _at(mask: Mask) -> list[int]:
    found: list[int] = mask.nonzero()[0].tolist()
    return found


def _raw(text: pa.Array) -> pa.Array:
    return text.view(pa.large_binary() if pa.types.is_large_string(text.type) else pa.binary())


def _bytes(text: pa.Array, row: int) -> bytes:
    value: bytes = _raw(text)[row].as_py()
    return value


def _texts(text: pa.Array) -> tuple[pa.Array, Mask | None]:
    """Strings, null where they are not UTF-8, and a mask of these; None if there are none."""
    if _is_valid(text):
        return text, None
    found, bad = texts(_raw(text))
    return found.cast(text.type), bad


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _holds_text(kind: pa.DataType) -> bool:
    return is_text(kind) or any(_holds_text(kind.field(at).type) for at in range(kind.num_fields))
