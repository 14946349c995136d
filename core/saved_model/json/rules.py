"""Column rules on JSON: parses and checks a Model's inputs; values as in `core.values`, without Arrow."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.rules.column import CategoryRule, NumberRule, Rule, bytes_fault
from headrace.core.rules.fault import RuleViolation
from headrace.core.rules.model import faults_of
from headrace.core.values.scalars import number_of, text_of

_PLAIN = {int, float, type(None)}


def ruled_column(
    rule: Rule,
    name: str,
    values: Sequence[Any],
    faults: list[RuleViolation],
    spellings: Mapping[str, str] = MappingProxyType({}),
) -> npt.NDArray[Any]:
    """The values of an input as its column; the faults of their rows are added to `faults`.

    Args:
        rule: the input's rule.
        name: the input's name, for messages.
        values: JSON values, [rows], None where missing.
        faults: faults are appended to it.
        spellings: the model's spellings of numbers and booleans, for a category; see `values.spellings`.

    Returns:
        [rows] of the rule's dtype or str; NaN or "" where missing or at fault.

    Raises:
        DataError: a value matches several of the model's categories.
    """
    if isinstance(rule, NumberRule):
        return _numbers(rule, name, values, faults)
    return _categories(rule, name, values, faults, spellings)


def _numbers(
    rule: NumberRule, name: str, values: Sequence[Any], faults: list[RuleViolation]
) -> npt.NDArray[np.floating]:
    wide = _plain_numbers(values)
    if wide is not None:
        if rule.hold(wide):
            return wide.astype(rule.dtype)
        wrong = np.isinf(wide)
    else:
        wrong = np.zeros(len(values), np.bool_)
        wide = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            try:
                number = number_of(value)
            except ValueError:
                wrong[row] = True
                continue
            wide[row] = math.nan if number is None else number
    missing = np.isnan(wide) & ~wrong
    faults += rule.faults(name, wide, missing, wrong)
    with np.errstate(over="ignore"):
        narrow = np.where(wrong, np.nan, wide).astype(rule.dtype)
    return np.where(np.isinf(narrow), rule.dtype(np.nan), narrow)


def _plain_numbers(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """Numbers and nulls as float64; None if there is another value, or an integer out of range."""
    if not set(map(type, values)) <= _PLAIN:
        return None
    try:
        return np.array([math.nan if value is None else value for value in values], np.float64)
    except OverflowError:
        return None


def _categories(
    rule: CategoryRule, name: str, values: Sequence[Any], faults: list[RuleViolation], spellings: Mapping[str, str]
) -> npt.NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    nested, not_utf8 = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    if set(map(type, values)) == {str}:
        column[:] = values
    else:
        for row, value in enumerate(values):
            try:
                plain = bytes_of(value).decode() if isinstance(value, dict) else value
            except UnicodeDecodeError:
                not_utf8[row], plain = True, None
            except (TypeError, ValueError):
                nested[row], plain = True, None
            nested[row] |= isinstance(plain, list)
            column[row] = _text(name, plain, spellings)
    rows = nested | not_utf8
    if rows.any():
        if nested.any():
            faults.append(
                RuleViolation(name, "malformed_row", nested, lambda value: f"{name} is {value}, which is not one value")
            )
        if not_utf8.any():
            faults.append(bytes_fault(name, not_utf8))
        found = faults_of(rule, name, np.where(rows, "-", column))
        for fault in found:
            fault.rows = fault.rows & ~rows
        faults += [fault for fault in found if fault.rows.any()]
    else:
        faults += faults_of(rule, name, column)
    return column


def bytes_of(value: Mapping[str, Any]) -> bytes:
    """The bytes of {"b64": "..."}.

    Raises:
        TypeError, ValueError: it is another object, or not base64.
    """
    if set(value) != {"b64"}:
        raise ValueError("not bytes in base64")
    return base64.b64decode(value["b64"], validate=True)


def _text(name: str, value: Any, spellings: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list) or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = text_of(value)
    spelled = spellings.get(text, text)
    if not spelled:
        raise DataError(
            f'a value of "{name}" is several of the model\'s categories', expected="a string", received=text
        )
    return spelled
