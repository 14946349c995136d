"""Column rules on Arrow: parses a column as a whole, and checks it by `core.rules`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.rules.column import CategoryRule, NumberRule, bytes_fault, key_fault
from headrace.core.rules.fault import Mask, RuleViolation
from headrace.core.sources.csv.numbers import reading_option
from headrace.core.values.columns import mask_of, nulls_of
from headrace.core.values.missing import LOOKS_MISSING, declaration
from headrace.core.values.numbers import parse_numbers


def parsed_numbers(
    rule: NumberRule, name: str, column: pa.Array
) -> tuple[npt.NDArray[np.float64], Mask, list[RuleViolation]]:
    """The numbers of a column, which values are present, and the rules that they break.

    Raises:
        pa.ArrowNotImplementedError: the type holds neither numbers nor text.
    """
    values, missing, wrong = parse_numbers(column)
    return values, ~missing & ~wrong, rule.faults(name, values, missing, wrong, float_bits(column.type), number_hint)


def category_faults(rule: CategoryRule, name: str, text: pa.Array, not_utf8: Mask) -> list[RuleViolation]:
    """The rules that categories break.

    Args:
        rule: of the column.
        name: of the column, for messages.
        text: its strings, null where one is missing.
        not_utf8: which values are bytes without a text, null in `text`.
    """
    missing = nulls_of(text)
    unknown = np.zeros(len(text), np.bool_)
    if rule.known:
        unknown = ~missing & ~mask_of(pc.is_in(text, pa.array(sorted(rule.known), text.type)))
    return rule.faults(name, missing & ~not_utf8, unknown, not_utf8)


def key_faults(name: str, text: pa.Array, not_utf8: Mask) -> list[RuleViolation]:
    """The rules that keys break: each is a text that is not empty; arguments as of `category_faults`."""
    missing = (nulls_of(text) | mask_of(pc.equal(text, ""))) & ~not_utf8
    found = [bytes_fault(name, not_utf8)] if not_utf8.any() else []
    return [*found, key_fault(name, missing)] if missing.any() else found


def float_bits(kind: pa.DataType) -> int:
    """The width of floats in bits, 16 or 32, by which their bounds are rounded; 64 for every other type."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return float_bits(kind.value_type)
    return 16 if pa.types.is_float16(kind) else 32 if pa.types.is_float32(kind) else 64


def number_hint(value: str) -> str:
    """A hint for a value that is not a number, for the end of its message; "" if there is none."""
    text = value.strip('"')
    if text in LOOKS_MISSING:
        return f"; {declaration([text])} in the Problem makes it a missing value"
    option = reading_option(text)
    return f"; {option} reads it" if option else ""
