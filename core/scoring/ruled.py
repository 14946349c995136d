"""Checked columns: converts Arrow columns to a Model's inputs and checks its rules; without TensorFlow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.rows.column_faults import float_bits, number_hint
from headrace.core.rules.column import CategoryRule, NumberRule
from headrace.core.rules.fault import Mask, RuleViolation
from headrace.core.saved_model.interface import ModelInput
from headrace.core.scoring.texts import texts_of
from headrace.core.values.columns import texts
from headrace.core.values.numbers import parse_numbers

_PLAIN = (pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)


def ruled_numbers(
    rule: NumberRule, name: str, column: pa.Array, faults: list[RuleViolation]
) -> npt.NDArray[np.floating]:
    """The numbers of a column in the rule's dtype, NaN where missing or at fault; faults are added to `faults`.

    Args:
        rule: the input's rule.
        name: the column's name.
        column: of numbers, booleans or text.
        faults: faults are appended to it.
    """
    wide, missing, wrong = parse_numbers(column)
    faults += rule.faults(name, wide, missing, wrong, float_bits(column.type), number_hint)
    with np.errstate(over="ignore"):
        narrow = np.where(missing | wrong, np.nan, wide).astype(rule.dtype)
    return np.where(np.isinf(narrow), rule.dtype(np.nan), narrow)


def ruled_texts(
    rule: CategoryRule, name: str, taken: ModelInput, column: pa.Array, faults: list[RuleViolation]
) -> pa.Array:
    """The texts of a column, as `texts_of` returns them; faults are added to `faults`.

    Raises:
        DataError: the type cannot be converted to text.
    """
    kind = column.type
    bad: Mask | None = None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column, bad = texts(column)
    if rule.known and any(plain(column.type) for plain in _PLAIN):
        # If there are few distinct values, each is converted and looked up once.
        column = column.dictionary_encode()
    text, missing = texts_of(name, taken, column)
    if rule.known and not pa.types.is_dictionary(text.type):
        text = text.dictionary_encode()
    absent = np.zeros(len(text), np.bool_) if missing is None else missing
    unknown = _unknown(rule, text) & ~absent
    if bad is not None:
        absent = absent & ~bad
        unknown = unknown & ~bad
    if bad is not None or missing is not None or unknown.any():
        faults += rule.faults(name, absent, unknown, bad)
    return text


def _unknown(rule: CategoryRule, text: pa.Array) -> Mask:
    """Mask of texts that are not known categories, [rows]."""
    unknown = np.zeros(len(text), np.bool_)
    if not rule.known:
        return unknown
    words = np.array([_decoded(word) not in rule.known for word in text.dictionary.to_pylist()], np.bool_)
    return words[text.indices.to_numpy(zero_copy_only=False)] if words.any() else unknown


def _decoded(word: str | bytes | None) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else word or ""
