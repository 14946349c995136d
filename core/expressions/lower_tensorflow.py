"""Expressions as operations of a TensorFlow graph, with which an exported model computes derived columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from headrace.core.expressions.evaluate import Evaluator, ExpressionValues, Pattern
from headrace.core.expressions.nodes import Expression

_DTYPES = {bool: tf.bool, int: tf.int64, float: tf.float64, str: tf.string}
_FUNCTIONS = {"round_half_even": tf.round, "remainder": tf.math.floormod, "power": tf.pow, "log": tf.math.log}


class TensorFlowEvaluator(Evaluator):
    """Evaluates on tensors.

    Args:
        columns: by name.
        rows: how many, a scalar.
    """

    def __init__(self, columns: Mapping[str, ExpressionValues], rows: Any) -> None:
        super().__init__(columns)
        self._shape = tf.expand_dims(rows, 0)

    def filled(self, value: bool | int | float | str) -> Any:
        return tf.fill(self._shape, tf.constant(value, _DTYPES[type(value)]))

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return tf.where(condition, then, otherwise)

    def where_texts(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return tf.where(condition, then, otherwise)

    def equal(self, left: Any, right: Any) -> Any:
        return tf.equal(left, right)

    def equal_texts(self, left: Any, right: Any) -> Any:
        return tf.equal(left, right)

    def finite(self, values: Any) -> Any:
        return tf.math.is_finite(values)

    def to_double(self, values: Any) -> Any:
        return tf.cast(values, tf.float64)

    def to_single(self, values: Any) -> Any:
        return tf.cast(tf.cast(values, tf.float32), tf.float64)

    def function(self, name: str, *values: Any) -> Any:
        function = _FUNCTIONS.get(name)
        return (function or getattr(tf.math, name))(*values)

    def search(self, boundaries: Any, values: Any) -> Any:
        return tf.searchsorted(tf.constant(boundaries, tf.float64), values, side="right", out_type=tf.int64)

    def search_times(self, starts: Sequence[int], values: Any) -> Any:
        return tf.searchsorted(tf.constant(starts, tf.int64), values, side="right", out_type=tf.int64)

    def look_up(self, table: Sequence[int], places: Any) -> Any:
        return tf.gather(tf.constant(table, tf.int64), places)

    def text_function(self, name: str, *values: Any) -> Any:
        if name == "concat":
            return tf.strings.join(values)
        if name == "cut":
            text, start, stop = values
            # TensorFlow raises an error for positions beyond the end of a text.
            begin = tf.minimum(tf.strings.length(text, unit="UTF8_CHAR"), start)
            return tf.strings.substr(text, begin, tf.fill(self._shape, max(0, stop - start)), unit="UTF8_CHAR")
        return {"lower": tf.strings.lower, "strip": tf.strings.strip}[name](values[0])

    def lengths(self, texts: Any) -> Any:
        return tf.cast(tf.strings.length(texts, unit="UTF8_CHAR"), tf.int64)

    def finds(self, name: str, texts: Any, part: str) -> Any:
        before, after = {"contains": (".*", ".*"), "starts_with": ("", ".*"), "ends_with": (".*", "")}[name]
        return self.matches(texts, f"{before}{_escaped(part)}{after}")

    def matches(self, texts: Any, pattern: str) -> Any:
        return tf.strings.regex_full_match(texts, f"(?s)(?:{pattern})")

    def parsed(self, texts: Any) -> Any:
        return tf.strings.to_number(texts, tf.float64)

    def digits(self, values: Any) -> Any:
        return tf.strings.as_string(tf.cast(values, tf.int64))

    def captured(self, texts: Any, pattern: Pattern) -> tuple[Any, dict[str, Any]]:
        matched = self.matches(texts, "".join(f"(?:{text})" if name else text for name, text in pattern))
        proper = tf.where(matched, texts, self.filled(""))
        fields = {}
        for wanted in (name for name, _ in pattern if name):
            one = "".join(f"({t})" if name == wanted else f"(?:{t})" if name else t for name, t in pattern)
            text = tf.strings.regex_replace(proper, f"^(?:{one})$", r"0\1")
            if wanted == "fraction":
                text = tf.strings.substr(tf.strings.join([text, "000000"]), 1, 6)
            fields[wanted] = tf.strings.to_number(tf.where(matched, text, self.filled("0")), tf.int64)
        return matched, fields


def derive(expressions: Mapping[str, Expression], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Derived columns as tensors.

    Args:
        expressions: inlined, by name.
        columns: the columns that they read: [rows] float32 or float64, NaN for missing; or strings, "" for missing.

    Returns:
        By name, [rows]: float64 with NaN, or strings with "".
    """
    rows = tf.shape(next(iter(columns.values())))[0] if columns else 0
    inputs = {}
    for name, column in columns.items():
        if column.dtype == tf.string:
            inputs[name] = ExpressionValues(column, tf.equal(column, ""))
        else:
            values = tf.cast(column, tf.float64)
            inputs[name] = ExpressionValues(values, tf.math.is_nan(values))
    evaluator = TensorFlowEvaluator(inputs, rows)
    found = {}
    for name, expression in expressions.items():
        result = evaluator(expression)
        if expression.kind == "text":
            found[name] = result.values
        else:
            values = tf.cast(result.values, tf.float64)
            found[name] = tf.where(result.missing, tf.constant(math.nan, tf.float64), values)
    return found


def _escaped(text: str) -> str:
    """An RE2 pattern that matches only this text."""
    return "".join(c if c.isalnum() or not c.isascii() else f"\\x{{{ord(c):x}}}" for c in text)
