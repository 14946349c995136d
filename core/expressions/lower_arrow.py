"""Expressions on Arrow columns: text by Arrow's kernels, numbers and times by numpy on the same memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.expressions.evaluate import ExpressionValues, Pattern
from headrace.core.expressions.lower_numpy import NumpyEvaluator
from headrace.core.expressions.nodes import Expression


class ArrowEvaluator(NumpyEvaluator):
    """Evaluates on Arrow; text is Arrow arrays of strings without nulls, other kinds are numpy arrays."""

    def filled(self, value: bool | int | float | str) -> Any:
        return pa.repeat(pa.scalar(value, pa.string()), self.rows) if isinstance(value, str) else super().filled(value)

    def where_texts(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return pc.if_else(pa.array(condition), then, otherwise)

    def equal_texts(self, left: Any, right: Any) -> Any:
        return _numpy(pc.equal(left, right))

    def text_function(self, name: str, *values: Any) -> Any:
        if name == "concat":
            return pc.binary_join_element_wise(*values, "")
        if name == "cut":
            text, start, stop = values
            return pc.utf8_slice_codeunits(text, start, max(start, stop))
        return {"lower": pc.ascii_lower, "strip": pc.ascii_trim_whitespace}[name](values[0])

    def lengths(self, texts: Any) -> Any:
        return _numpy(pc.utf8_length(texts)).astype(np.int64)

    def finds(self, name: str, texts: Any, part: str) -> Any:
        kernel = {"contains": pc.match_substring, "starts_with": pc.starts_with, "ends_with": pc.ends_with}[name]
        return _numpy(kernel(texts, pattern=part))

    def matches(self, texts: Any, pattern: str) -> Any:
        return _numpy(pc.match_substring_regex(texts, f"(?s)^(?:{pattern})$"))

    def parsed(self, texts: Any) -> Any:
        return _numpy(pc.replace_substring_regex(texts, r"^\+", "").cast(pa.float64()))

    def digits(self, values: Any) -> Any:
        return pa.array(values.astype(np.int64)).cast(pa.string())

    def captured(self, texts: Any, pattern: Pattern) -> tuple[Any, dict[str, Any]]:
        joined = "".join(f"(?P<{name}>{text})" if name else text for name, text in pattern)
        found = pc.extract_regex(texts, f"^(?:{joined})$")
        matched = _numpy(pc.is_valid(found))
        fields = {}
        for name in (name for name, _ in pattern if name):
            text = pc.fill_null(pc.struct_field(found, name), "")
            if name == "fraction":
                text = pc.utf8_slice_codeunits(pc.binary_join_element_wise(text, "000000", ""), 0, 6)
            fields[name] = _numpy(pc.binary_join_element_wise("0", text, "").cast(pa.int64()))
        return matched, fields


def derive(expressions: Mapping[str, Expression], columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """Derived columns as Arrow arrays.

    Args:
        expressions: inlined, by name.
        columns: the columns that they read: of a float type, or strings; null, NaN or "" for missing.
        rows: number of rows.

    Returns:
        By name: float64, strings, or for a time timestamps in UTC; null where missing.
    """
    evaluator = ArrowEvaluator({name: evaluated(column) for name, column in columns.items()}, rows)
    found = {}
    for name, expression in expressions.items():
        result = evaluator(expression)
        if expression.kind == "text":
            found[name] = pc.if_else(pa.array(result.missing), None, result.values)
        elif expression.kind == "time":
            found[name] = pa.array(result.values, mask=result.missing).cast(pa.timestamp("us", "UTC"))
        else:
            found[name] = pa.array(result.values.astype(np.float64), mask=result.missing)
    return found


def evaluated(column: pa.Array) -> ExpressionValues:
    """A column as the evaluator reads it: texts, or numbers as float64; null, NaN and "" are missing."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = pc.fill_null(column.cast(pa.string()), "")
        return ExpressionValues(texts, _numpy(pc.equal(texts, "")))
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return ExpressionValues(values, np.isnan(values))


def _numpy(values: pa.Array) -> Any:
    return values.to_numpy(zero_copy_only=False)
