"""JSON form of expressions: {"column": ...}, {"literal": ...} or {"call": ..., "of": [...], parameters}."""

from __future__ import annotations

from typing import Any

from headrace.core.errors import ProblemError
from headrace.core.expressions.nodes import (
    MAXIMUM_DEPTH,
    Call,
    ColumnReference,
    Expression,
    Literal,
    as_expression,
    call,
)
from headrace.core.expressions.signatures import OPERATIONS


def to_json(expression: Expression) -> dict[str, Any]:
    """An expression as JSON values; equal expressions have equal JSON values."""
    if isinstance(expression, ColumnReference):
        return {"column": expression.name, **({} if expression.kind is None else {"kind": expression.kind})}
    if isinstance(expression, Literal):
        return {"literal": expression.value}
    assert isinstance(expression, Call)
    names = dict(OPERATIONS[expression.operation].parameters)
    values = ([*value] if isinstance(value, tuple) else value for value in expression.parameters)
    return {
        "call": expression.operation,
        "of": [to_json(argument) for argument in expression.arguments],
        **dict(zip(names, values, strict=True)),
    }


def from_json(plain: Any, depth: int = 0) -> Expression:
    """Reads the expression from the result of `to_json`.

    Raises:
        ProblemError: the JSON has another form, or the expression is not valid.
    """
    if isinstance(plain, dict) and depth <= MAXIMUM_DEPTH:
        if isinstance(plain.get("column"), str) and plain.get("kind") in (None, "number", "text"):
            return ColumnReference(plain["column"], plain.get("kind"))
        if plain.keys() == {"literal"}:
            return as_expression(plain["literal"], "literal")
        of = plain.get("of")
        if plain.get("call") in OPERATIONS and isinstance(of, list) and of:
            parameters = {name: value for name, value in plain.items() if name not in ("call", "of")}
            return call(plain["call"], *(from_json(argument, depth + 1) for argument in of), **parameters)
    raise ProblemError(
        "an expression does not have the expected form",
        expected='{"column": NAME}, {"literal": VALUE} or {"call": OPERATION, "of": [...]}',
        received=repr(plain)[:120],
    )
