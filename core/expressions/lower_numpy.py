"""Expressions on numpy arrays: numbers by numpy, text by Python, one value at a time.

It is the reference for the other lowerings, and computes the numbers and times of the one for Arrow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.expressions.evaluate import Evaluator, ExpressionValues, Pattern
from headrace.core.expressions.nodes import Expression

_FUNCTIONS = {"asin": np.arcsin, "round_half_even": np.rint}


class NumpyEvaluator(Evaluator):
    """Evaluates on numpy; text is arrays of objects, each a str.

    Args:
        columns: by name.
        rows: how many.
    """

    def __init__(self, columns: Mapping[str, ExpressionValues], rows: int) -> None:
        super().__init__(columns)
        self.rows = rows

    def _evaluate(self, node: Expression) -> ExpressionValues:
        # Overflows and undefined results are missing values, without a warning.
        with np.errstate(all="ignore"):
            return super()._evaluate(node)

    def filled(self, value: bool | int | float | str) -> Any:
        if isinstance(value, str):
            texts = np.empty(self.rows, object)
            texts[:] = value
            return texts
        return np.full(self.rows, value)

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return np.where(condition, then, otherwise)

    def where_texts(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return np.where(condition, then, otherwise)

    def equal(self, left: Any, right: Any) -> Any:
        return left == right

    def equal_texts(self, left: Any, right: Any) -> Any:
        return (left == right).astype(np.bool_)

    def finite(self, values: Any) -> Any:
        return np.isfinite(values)

    def to_double(self, values: Any) -> Any:
        return values.astype(np.float64)

    def to_single(self, values: Any) -> Any:
        return values.astype(np.float32).astype(np.float64)

    def function(self, name: str, *values: Any) -> Any:
        return _FUNCTIONS.get(name, getattr(np, name, None))(*values)  # type: ignore[misc]

    def search(self, boundaries: Any, values: Any) -> Any:
        return np.searchsorted(np.array(boundaries, np.float64), values, side="right")

    def search_times(self, starts: Sequence[int], values: Any) -> Any:
        return np.searchsorted(np.array(starts, np.int64), values, side="right")

    def look_up(self, table: Sequence[int], places: Any) -> Any:
        return np.array(table, np.int64)[places]

    def text_function(self, name: str, *values: Any) -> Any:
        first = values[0]
        if name == "concat":
            return self._objects([a + b for a, b in zip(first, values[1], strict=True)])
        if name == "cut":
            start, stop = values[1:]
            return self._objects([text[start:stop] for text in first])
        # These methods of bytes change ASCII only.
        change = bytes.lower if name == "lower" else bytes.strip
        return self._objects([change(text.encode()).decode() for text in first])

    def lengths(self, texts: Any) -> Any:
        return self._numbers_of([len(text) for text in texts], np.int64)

    def finds(self, name: str, texts: Any, part: str) -> Any:
        found = {"contains": str.__contains__, "starts_with": str.startswith, "ends_with": str.endswith}[name]
        return self._numbers_of([found(text, part) for text in texts], np.bool_)

    def matches(self, texts: Any, pattern: str) -> Any:
        compiled = re.compile(pattern, re.DOTALL)
        return self._numbers_of([compiled.fullmatch(text) is not None for text in texts], np.bool_)

    def parsed(self, texts: Any) -> Any:
        return self._numbers_of([float(text) for text in texts], np.float64)

    def digits(self, values: Any) -> Any:
        return self._objects([str(int(value)) for value in values])

    def captured(self, texts: Any, pattern: Pattern) -> tuple[Any, dict[str, Any]]:
        compiled = re.compile("".join(f"(?P<{name}>{text})" if name else text for name, text in pattern))
        found = [compiled.fullmatch(text) for text in texts]
        names = [name for name, _ in pattern if name]
        columns = {name: [_whole(name, match) for match in found] for name in names}
        matched = self._numbers_of([match is not None for match in found], np.bool_)
        return matched, {name: self._numbers_of(values, np.int64) for name, values in columns.items()}

    def _objects(self, values: list[str]) -> Any:
        texts = np.empty(len(values), object)
        texts[:] = values
        return texts

    def _numbers_of(self, values: list[Any], dtype: Any) -> Any:
        return np.array(values, dtype)


def _whole(name: str, match: re.Match[str] | None) -> int:
    text = (match[name] if match else None) or ""
    return int((text + "000000")[:6]) if name == "fraction" else int(text or "0")


def derive(
    expressions: Mapping[str, Expression], columns: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Derived columns as numpy arrays.

    Args:
        expressions: inlined, by name.
        columns: the columns that they read, [rows]: of a float type, NaN for missing; or objects, str, "" for missing.

    Returns:
        By name [rows]: float64 with NaN, or objects, str with "". Booleans are 0 and 1; there are no times.
    """
    rows = len(next(iter(columns.values()))) if columns else 0
    inputs = {
        name: ExpressionValues(column, column == "") if column.dtype == object else _numeric(column)
        for name, column in columns.items()
    }
    evaluator = NumpyEvaluator(inputs, rows)
    return {name: result_of(evaluator(expression), expression) for name, expression in expressions.items()}


def result_of(found: ExpressionValues, expression: Expression) -> npt.NDArray[Any]:
    """Evaluated values, with NaN or "" for missing ones."""
    if expression.kind == "text":
        return np.asarray(found.values)
    return np.where(found.missing, np.nan, found.values.astype(np.float64))


def _numeric(column: npt.NDArray[Any]) -> ExpressionValues:
    values = column.astype(np.float64)
    return ExpressionValues(values, np.isnan(values))
