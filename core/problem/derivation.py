"""Derivation: the expressions of a Problem's derived columns, and the columns of the table that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.core.errors import ProblemError
from headrace.core.expressions.binding import RawKind, for_feature, inlined, needed, nodes, raw_columns
from headrace.core.expressions.nodes import Column, Expression, shown
from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES, Categorical, Numeric

_WHERE = "Problem.derive"


@dataclass(frozen=True)
class Derivation:
    """The derived columns of a Problem.

    Attributes:
        features: expressions of the derived features by name, over columns of the table: numbers or text.
        label: the expression of the label, or None where the label is a column of the table.
        inputs: columns of the table that derived features read and that are no features.
        label_inputs: columns of the table that a derived label reads.
        served: what the model is given, in batches and online: features of the table, then `inputs`.
        stored: what Examples hold besides label and key: all features, then `inputs`.
        read: the columns of the table that are read besides the key: the label, or what it is derived from, then
            `served`.
    """

    features: Mapping[str, Expression]
    label: Expression | None
    inputs: tuple[Numeric | Categorical, ...]
    label_inputs: tuple[Numeric | Categorical, ...]
    served: tuple[Numeric | Categorical, ...]
    stored: tuple[Numeric | Categorical, ...]
    read: tuple[Numeric | Categorical, ...]

    @classmethod
    def of(
        cls,
        derive: Mapping[str, Expression],
        label: Numeric | Categorical,
        columns: Sequence[Numeric | Categorical],
        key: str | None,
    ) -> Derivation:
        """The derivation of a declaration.

        Args:
            derive: expressions by name, as declared.
            label: of the Problem.
            columns: its features that are no crosses.
            key: its key, or None.

        Raises:
            ProblemError: a name is wrong or taken, a column depends on itself or on the label, is read as what it is
                not, or is derived and declared as a column of the table too.
        """
        _check_names(derive, key)
        for column in (*columns, label):
            if column.name in derive and column.column is not None:
                raise ProblemError(
                    "a derived column cannot also be a column of the table",
                    where=f'{_WHERE}["{column.name}"], {type(column).__name__}("{column.name}")',
                    expected="derive, or column",
                    received=f"both, column={column.column!r}",
                )
        declared = {column.name: column for column in (*columns, label)}
        kinds: dict[str, RawKind] = {
            name: "text" if isinstance(column, Categorical) else "number" for name, column in declared.items()
        }
        whole = inlined(derive, kinds)
        features = {column.name: _made(whole[column.name], column) for column in columns if column.name in whole}
        of_label = _made(whole[label.name], label) if label.name in whole else None
        read = raw_columns(features)
        _check_read(features, read, declared, label, key, derive)
        must = frozenset().union(*(needed(features[c.name]) for c in columns if c.name in whole and not c.optional))
        inputs = tuple(
            _input(name, kind, name not in must) for name, kind in sorted(read.items()) if name not in declared
        )
        of_labels = {} if of_label is None else raw_columns({label.name: of_label})
        label_inputs = tuple(_input(name, kind, True) for name, kind in sorted(of_labels.items()))
        served = (*(column for column in columns if column.name not in features), *inputs)
        # What a feature is declared as holds for the label's expression too.
        names = {column.name for column in served}
        of_table = (label,) if of_label is None else tuple(c for c in label_inputs if c.name not in names)
        return cls(features, of_label, inputs, label_inputs, served, (*columns, *inputs), (*of_table, *served))


def _check_names(derive: object, key: str | None) -> None:
    if not isinstance(derive, Mapping):
        raise ProblemError(
            "derive is wrong", where=_WHERE, expected='{"name": expression, ...}', received=repr(derive)[:80]
        )
    for name, expression in derive.items():
        if not isinstance(name, str) or not COLUMN_NAME.match(name) or name in RESERVED_NAMES:
            raise ProblemError(
                "the name of a derived column is wrong",
                where=_WHERE,
                expected=f"1 to 63 letters, digits and _, first a letter; not {', '.join(sorted(RESERVED_NAMES))}",
                received=repr(name),
            )
        if not isinstance(expression, Expression):
            raise ProblemError(
                "a derived column is not an expression",
                where=f'{_WHERE}["{name}"]',
                expected="an expression of columns, such as log1p(col(...))",
                received=repr(expression)[:80],
            )
        if name == key:
            raise ProblemError(
                "the key cannot be derived", where=_WHERE, expected="a key that is a column of the table", received=name
            )


def _check_read(
    features: Mapping[str, Expression],
    read: Mapping[str, RawKind],
    declared: Mapping[str, Numeric | Categorical],
    label: Numeric | Categorical,
    key: str | None,
    derive: Mapping[str, Expression],
) -> None:
    def reader(name: str) -> tuple[str, Expression]:
        return next((n, e) for n, e in features.items() if name in raw_columns({n: e}))

    of_label = () if label.name in derive else (label.name, *({label.source_column} - declared.keys()))
    for name, kind in read.items():
        where, received = f'{_WHERE}["{reader(name)[0]}"]', shown(reader(name)[1])
        if name in of_label:
            raise ProblemError(
                "a derived feature reads the label",
                where=where,
                expected="columns that are known before the label is",
                received=received,
            )
        if name == key:
            raise ProblemError(
                "a derived feature reads the key",
                where=where,
                expected="columns that say something about the row",
                received=received,
            )
        if not COLUMN_NAME.match(name) or name in RESERVED_NAMES:
            raise ProblemError(
                f'the column "{name}" cannot be an input of a model',
                where=where,
                expected="a column's name of 1 to 63 letters, digits and _, starting with a letter",
                received=repr(name),
            )
        column = declared.get(name)
        if column is not None and (kind == "text") != isinstance(column, Categorical):
            raise ProblemError(
                f'the column "{name}" is declared {type(column).__name__}, and read as {_SAID[kind]}',
                where=where,
                expected=f"an expression of {'text' if isinstance(column, Categorical) else 'a number'}",
                received=received,
                fix=f'number(col("{name}")) reads the number of a Categorical'
                if kind == "number"
                else f'Derive the feature too: derive={{"{name}_number": number(col("{name}"))}}',
            )
    for name, expression in features.items():
        if label.name in derive and _depends_on(name, label.name, derive):
            raise ProblemError(
                "a derived feature reads the label",
                where=f'{_WHERE}["{name}"]',
                expected="columns that are known before the label is",
                received=shown(expression),
            )


_SAID = {"number": "a number", "text": "text"}


def _depends_on(name: str, other: str, derive: Mapping[str, Expression]) -> bool:
    waiting, seen = [name], {name}
    while waiting:
        for node in nodes(derive[waiting.pop()]):
            if isinstance(node, Column) and node.name == other:
                return True
            if isinstance(node, Column) and node.name in derive and node.name not in seen:
                seen.add(node.name)
                waiting.append(node.name)
    return False


def _made(expression: Expression, column: Numeric | Categorical) -> Expression:
    where = f'{_WHERE}["{column.name}"], {type(column).__name__}("{column.name}")'
    return for_feature(expression, isinstance(column, Categorical), where)


def _input(name: str, kind: RawKind, optional: bool) -> Numeric | Categorical:
    return Categorical(name, optional=optional) if kind == "text" else Numeric(name, optional=optional)
