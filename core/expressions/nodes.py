"""Expressions of derived columns: immutable trees, whose types are checked when they are built.

A tree has three kinds of nodes: a column of the table, a literal, and a call of one of `signatures.OPERATIONS`. The
operators and methods of `Expression` build calls; `functions` has the rest. This module computes no values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from headrace.core.errors import ProblemError
from headrace.core.expressions.operators import Operators
from headrace.core.expressions.signatures import CAST_HINTS, KIND_NAMES, OPERATIONS, Kind, Parameter

# Deeper or larger trees are refused: each lowering walks the tree, and a graph has several operations per node.
MAXIMUM_DEPTH = 64
MAXIMUM_SIZE = 1000
# Whole numbers up to this are exact in float64.
EXACT = 1 << 53

# Operations that return an operand of their kind unchanged, for derived columns that read other ones.
_CASTS = {"number": ("number", "integer"), "boolean": ("boolean",), "timestamp": ("time",)}

Value = bool | int | float | str


class Expression(Operators["Expression"]):
    """A value per row. Use `&`, `|` and `~` for and, or and not, and parentheses around comparisons.

    Attributes:
        kind: of its values; None for a column of unknown kind.
        depth: number of nodes on the longest path to a leaf.
        size: number of nodes, each counted as often as it is used.
    """

    kind: Kind | None
    depth: int = 1
    size: int = 1

    def _call(self, operation: str, *operands: Any, **parameters: Parameter) -> Expression:
        return call(operation, *operands, **parameters)

    def __str__(self) -> str:
        return shown(self)


@dataclass(frozen=True, eq=False)
class ColumnReference(Expression):
    """A column of the table, or another derived column.

    Attributes:
        name: of the column.
        kind: number or text; None until its use determines it.
    """

    name: str
    kind: Kind | None = None


@dataclass(frozen=True, eq=False)
class Literal(Expression):
    """One value for all rows."""

    value: Value
    kind: Kind | None = None


@dataclass(frozen=True, eq=False)
class Call(Expression):
    """An operation on other expressions; created and checked by `call`.

    Attributes:
        operation: a key of OPERATIONS.
        arguments: the operands.
        parameters: constants for all rows, in the order of the operation's declaration.
    """

    operation: str
    arguments: tuple[Expression, ...]
    parameters: tuple[Parameter, ...] = ()
    kind: Kind | None = None
    depth: int = field(default=1, repr=False)
    size: int = field(default=1, repr=False)


def call(operation: str, *operands: Any, **parameters: Parameter) -> Expression:
    """A checked call; a conversion of an operand that already has the kind returns the operand.

    Args:
        operation: a key of OPERATIONS.
        operands: expressions, or values.
        parameters: of the operation, all of them.

    Raises:
        ProblemError: an operand is of the wrong kind, a parameter is wrong, or the tree is too large.
    """
    signature = OPERATIONS[operation]
    arguments = [as_expression(operand, operation) for operand in operands]
    if arguments[0].kind in _CASTS.get(operation, ()):
        return arguments[0]
    wanted: list[Kind | None]
    common: Kind = "number"
    if signature.arguments == "same":
        common = _common([argument.kind for argument in arguments], operation)
        first = 1 if operation == "if_else" else 0
        wanted = [common if i >= first else "boolean" for i in range(len(arguments))]
    elif signature.arguments == "any":
        wanted = [argument.kind for argument in arguments]
    else:
        wanted = [*signature.arguments]
    made = tuple(coerced(a, kind, operation) for a, kind in zip(arguments, wanted, strict=True))
    result = signature.result
    if result == "same":
        result = common
    elif result == "arithmetic":
        result = "integer" if all(argument.kind == "integer" for argument in made) else "number"
    where = f"{operation}({', '.join(shown(argument) for argument in made)})"
    values = signature.check(parameters, where)
    depth, size = 1 + max(argument.depth for argument in made), 1 + sum(argument.size for argument in made)
    if depth > MAXIMUM_DEPTH or size > MAXIMUM_SIZE:
        raise ProblemError(
            "the expression is too large",
            where=f"{where[:80]}...",
            expected=f"at most {MAXIMUM_SIZE} parts and a depth of {MAXIMUM_DEPTH}, including derived columns",
            received=f"{size} parts, depth {depth}",
        )
    return Call(operation, made, values, result, depth, size)


def as_expression(operand: object, where: str) -> Expression:
    """An expression, or a value as a literal.

    Raises:
        ProblemError: it is neither.
    """
    if isinstance(operand, Expression):
        return operand
    if isinstance(operand, bool):
        return Literal(operand, "boolean")
    if isinstance(operand, int) and abs(operand) <= EXACT:
        return Literal(operand, "integer")
    if isinstance(operand, float) and math.isfinite(operand):
        return Literal(operand, "number")
    if isinstance(operand, str) and operand and _is_unicode(operand):
        return Literal(operand, "text")
    raise ProblemError(
        "an operand is wrong",
        where=where,
        expected="an expression, a finite number (whole ones up to 2^53), True, False, or text that is not empty",
        received=repr(operand)[:80],
        fix="Use is_missing() to test for a missing value" if operand is None or operand == "" else None,
    )


def coerced(operand: Expression, wanted: Kind | None, where: str) -> Expression:
    """Converts an operand to the kind that an operation accepts.

    A column of unknown kind gets this kind; a boolean becomes 0 or 1 for a number; text becomes a time.

    Raises:
        ProblemError: it has another kind.
    """
    kind = operand.kind
    if wanted is None or kind == wanted or (wanted == "number" and kind == "integer"):
        return operand
    if kind is None and isinstance(operand, ColumnReference):
        if wanted in ("number", "integer", "text"):
            return ColumnReference(operand.name, "text" if wanted == "text" else "number")
        return call(
            "timestamp" if wanted == "time" else "boolean", ColumnReference(operand.name, "text"), **_unit_of(wanted)
        )
    if kind == "boolean" and wanted in ("number", "integer"):
        return call("number_of_boolean", operand)
    if kind == "text" and wanted == "time":
        return call("timestamp", operand, unit="")
    raise ProblemError(
        f"{where} requires {KIND_NAMES[wanted]}",
        where=shown(operand)[:120],
        expected=KIND_NAMES[wanted],
        received=KIND_NAMES[kind],
        fix=CAST_HINTS.get((kind, "number" if wanted == "integer" else wanted)),
    )


def shown(expression: object) -> str:
    """An expression as text for messages, at most 200 characters."""
    return _shown(expression, 6)[:200]


def _shown(expression: object, depth: int) -> str:
    if isinstance(expression, ColumnReference):
        return f'col("{expression.name}")'
    if isinstance(expression, Literal):
        return repr(expression.value)
    if isinstance(expression, Call):
        if not depth:
            return "..."
        inner = [_shown(argument, depth - 1) for argument in expression.arguments]
        return f"{expression.operation}({', '.join([*inner, *(repr(p) for p in expression.parameters)])})"
    return repr(expression)


def _common(kinds: list[Kind | None], operation: str) -> Kind:
    """The common kind of all operands of a comparison or a choice."""
    if operation == "if_else":
        kinds = kinds[1:]
    known = {kind for kind in kinds if kind is not None}
    if operation in ("less", "less_equal"):
        return "time" if "time" in known else "number"
    if "time" in known or "text" in known:
        return "time" if "time" in known else "text"
    if known == {"boolean"}:
        return "boolean"
    return "integer" if known and known <= {"integer", "boolean"} and None not in kinds else "number"


def _unit_of(wanted: Kind) -> dict[str, Parameter]:
    return {"unit": ""} if wanted == "time" else {}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
