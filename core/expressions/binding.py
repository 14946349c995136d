"""Binding of derived columns: inlines expressions until they read only columns of the table, and types them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal as Word

from headrace.core.errors import ProblemError
from headrace.core.expressions.nodes import Call, ColumnReference, Expression, call, coerced, shown
from headrace.core.expressions.signatures import CAST_HINTS, KIND_NAMES, OPERATIONS, Kind

RawKind = Word["number", "text"]


def inlined(derive: Mapping[str, Expression], kinds: Mapping[str, RawKind]) -> dict[str, Expression]:
    """The derived columns as expressions of the table's columns only.

    Args:
        derive: expressions by the derived column's name, which may read each other.
        kinds: of the features, by name, for columns of the table and derived ones. Others are typed by their use.

    Raises:
        ProblemError: a column depends on itself, is read as another kind, or an expression becomes too large.
    """
    used = {
        n.name: n.kind
        for e in derive.values()
        for n in nodes(e)
        if isinstance(n, ColumnReference) and n.kind is not None
    }
    # A column of unknown kind can be text if it is only renamed or tested for missing values.
    known: dict[str, RawKind] = {name: "text" if kind == "text" else "number" for name, kind in used.items()}
    done: dict[str, Expression] = {}
    for name in derive:
        _inline(name, derive, {**known, **kinds}, done, ())
    return done


def _inline(
    name: str,
    derive: Mapping[str, Expression],
    kinds: Mapping[str, RawKind],
    done: dict[str, Expression],
    above: tuple[str, ...],
) -> Expression:
    if name in above:
        raise ProblemError(
            f'the derived column "{name}" depends on itself',
            where="Problem.derive",
            expected="columns of the table with other names than the derived ones",
            received=" reads ".join([*above[above.index(name) :], name]),
        )
    if name not in done:
        seen: dict[int, Expression] = {}

        def replaced(node: Expression) -> Expression:
            if id(node) not in seen:
                seen[id(node)] = rebuilt(node)
            return seen[id(node)]

        def rebuilt(node: Expression) -> Expression:
            if isinstance(node, ColumnReference):
                if node.name in derive:
                    inner = _inline(node.name, derive, kinds, done, (*above, name))
                    return coerced_column(inner, node)
                renamed = kinds.get(name, "number") if node is derive[name] else "text"
                return node if node.kind is not None else ColumnReference(node.name, kinds.get(node.name, renamed))
            if isinstance(node, Call):
                parameters = dict(zip(dict(OPERATIONS[node.operation].parameters), node.parameters, strict=True))
                return call(node.operation, *map(replaced, node.arguments), **parameters)
            return node

        try:
            done[name] = replaced(derive[name])
        except ProblemError as error:
            raise error.at(f'Problem.derive["{name}"]') from error
    return done[name]


def coerced_column(inner: Expression, node: ColumnReference) -> Expression:
    """A derived column that another one reads; casts around it detect that it already has their kind."""
    if node.kind == "text" and inner.kind in ("time", "boolean", "number", "integer"):
        return inner
    return coerced(inner, node.kind, f'col("{node.name}")')


def raw_columns(expressions: Mapping[str, Expression]) -> dict[str, RawKind]:
    """The table's columns that inlined expressions read, in order of occurrence.

    Raises:
        ProblemError: a column is read as a number and as text.
    """
    found: dict[str, RawKind] = {}
    for name, expression in expressions.items():
        for node in nodes(expression):
            if isinstance(node, ColumnReference):
                kind: RawKind = "text" if node.kind == "text" else "number"
                if found.setdefault(node.name, kind) != kind:
                    raise ProblemError(
                        f'the column "{node.name}" is read as a number and as text',
                        where=f'Problem.derive["{name}"]',
                        expected="one of the two",
                        received=shown(expression),
                        fix=f'As text, number(col("{node.name}")) is its number, and timestamp("{node.name}") its time',
                    )
    return found


def nodes(expression: Expression) -> Iterator[Expression]:
    """The nodes of a tree, each once."""
    seen: set[int] = set()
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            if isinstance(node, Call):
                waiting.extend(reversed(node.arguments))


def needed(expression: Expression) -> frozenset[str]:
    """The columns without which the expression is missing, for any values of the others."""
    known: dict[int, frozenset[str]] = {}

    def of(node: Expression) -> frozenset[str]:
        if id(node) not in known:
            known[id(node)] = found(node)
        return known[id(node)]

    def found(node: Expression) -> frozenset[str]:
        if isinstance(node, ColumnReference):
            return frozenset({node.name})
        if not isinstance(node, Call) or node.operation == "is_missing":
            return frozenset()
        parts = [of(argument) for argument in node.arguments]
        if node.operation == "if_else":
            return parts[0] | (parts[1] & parts[2])
        if node.operation in ("coalesce", "and", "or"):
            return frozenset.intersection(*parts)
        return frozenset().union(*parts)

    return of(expression)


def for_feature(expression: Expression, categorical: bool, where: str) -> Expression:
    """An inlined expression with the kind of a feature or a label: a number, or text.

    Raises:
        ProblemError: it is neither.
    """
    kind = expression.kind
    casts: dict[Kind | None, str] = {"integer": "text_of_integer", "boolean": "text_of_boolean"}
    if categorical and kind in casts:
        return call(casts[kind], expression)
    if categorical and kind == "text":
        return expression
    if not categorical and kind not in ("text", "time"):
        return coerced(expression, "number", where)
    fix = "Divide it into intervals with bucket(..., [...]), round it, or declare a Numeric"
    raise ProblemError(
        f"a {'category' if categorical else 'number'} cannot be derived from {KIND_NAMES[kind]}",
        where=where,
        expected="text, a whole number, or true and false" if categorical else "a number, or true and false",
        received=shown(expression),
        fix=fix if kind == "number" else CAST_HINTS.get((kind, "number")),
    )
