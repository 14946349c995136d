"""Derivation: the expressions of a Problem's derived columns, and the columns of the table that they read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.core.errors import ProblemError
from headrace.core.expressions.binding import RawKind, for_feature, inlined, needed, nodes, raw_columns
from headrace.core.expressions.nodes import ColumnReference, Expression, shown
from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES, Categorical, Numeric, stored_as

_WHERE = "Problem.derive"


@dataclass(frozen=True)
class Derivation:
    """The derived columns of a Problem.

    Attributes:
        features: expressions of the derived features by name, over columns of the table: numbers or text.
        label: the expression of the label, or None if the label is a column of the table.
        weight: the expression of the sample weight, or None if it is a column of the table or not declared.
        split: the expression of the column that decides the split, or None if it is not derived.
        inputs: columns of the table that derived features read and that are not features.
        label_inputs: columns of the table that a derived label reads.
        weight_inputs: columns of the table that a derived sample weight reads.
        split_inputs: columns of the table that `split` reads.
        served: columns that the model receives, in batches and online: features of the table, then `inputs`.
        exact: by the name of each numeric feature that derived features read, the name of its text in Examples:
            expressions compute with its number, and only the model with its float32.
        stored: columns of Examples other than label, weight and key, by name: all features, `inputs`, then `exact`.
        read: columns of the table that are read in addition to the key: the label and the weight, or the columns that
            they are derived from, the columns that the split is derived from, then `served`.
    """

    features: Mapping[str, Expression]
    label: Expression | None
    weight: Expression | None
    split: Expression | None
    inputs: tuple[Numeric | Categorical, ...]
    label_inputs: tuple[Numeric | Categorical, ...]
    weight_inputs: tuple[Numeric | Categorical, ...]
    split_inputs: tuple[Numeric | Categorical, ...]
    served: tuple[Numeric | Categorical, ...]
    exact: Mapping[str, str]
    stored: Mapping[str, Literal["float_list", "bytes_list"]]
    read: tuple[Numeric | Categorical, ...]

    @classmethod
    def of(
        cls,
        derive: Mapping[str, Expression],
        label: Numeric | Categorical,
        columns: Sequence[Numeric | Categorical],
        key: str | None,
        weight: Numeric | None = None,
        split: str | None = None,
    ) -> Derivation:
        """The derivation of a declaration.

        Args:
            derive: expressions by name, as declared.
            label: the Problem's label.
            columns: its features that are not crosses.
            key: its key, or None.
            weight: its column of sample weights, or None.
            split: the column that decides the split, or None.

        Raises:
            ProblemError: a name is not valid or already used, a column depends on itself, a feature depends on the
                label or on a column that is the weight, a column is read as another type than declared, or a column
                is derived and also declared as a column of the table.
        """
        targets = (label,) if weight is None else (label, weight)
        _check_names(derive, key)
        for column in (*columns, *targets):
            if column.name in derive and column.column is not None:
                raise ProblemError(
                    "a derived column cannot also be a column of the table",
                    where=f'{_WHERE}["{column.name}"], {type(column).__name__}("{column.name}")',
                    expected="derive, or column",
                    received=f"both, column={column.column!r}",
                )
        declared = {column.name: column for column in (*columns, *targets)}
        kinds: dict[str, RawKind] = {
            name: "text" if isinstance(column, Categorical) else "number" for name, column in declared.items()
        }
        whole = inlined(derive, kinds)
        features = {column.name: _made(whole[column.name], column) for column in columns if column.name in whole}
        of_targets = {column.name: _made(whole[column.name], column) for column in targets if column.name in whole}
        read = raw_columns(features)
        _check_weight(features, weight, derive)
        _check_read(features, read, declared, label, key, derive)
        must = frozenset().union(*(needed(features[c.name]) for c in columns if c.name in whole and not c.optional))
        inputs = tuple(
            _input(name, kind, name not in must) for name, kind in sorted(read.items()) if name not in declared
        )
        target_inputs = {name: _inputs_of(expression) for name, expression in of_targets.items()}
        of_split = None if split is None else whole.get(split)
        split_inputs = () if of_split is None else _inputs_of(of_split)
        # No column can have the name of a text: it has a dot.
        exact = {c.name: f"{c.name}.exact" for c in columns if isinstance(c, Numeric) and c.name in read}
        of_features = (column for column in columns if column.name not in features)
        served = (*(_double(c) if isinstance(c, Numeric) and c.name in exact else c for c in of_features), *inputs)
        of_table = {c.name: c for target in targets for c in target_inputs.get(target.name, (target,))}
        of_table |= {c.name: c for c in split_inputs if c.name not in of_table}
        # The declaration of a column of the table also applies to the expressions of label, weight and split.
        of_table |= {c.name: c for c in (*(t for t in targets if t.name not in of_targets), *served)}
        names = {column.name for column in served}
        return cls(
            features=features,
            label=of_targets.get(label.name),
            weight=None if weight is None else of_targets.get(weight.name),
            split=of_split,
            inputs=inputs,
            label_inputs=target_inputs.get(label.name, ()),
            weight_inputs=() if weight is None else target_inputs.get(weight.name, ()),
            split_inputs=split_inputs,
            served=served,
            exact=exact,
            stored={column.name: stored_as(column) for column in (*columns, *inputs)}
            | dict.fromkeys(exact.values(), "bytes_list"),
            read=(*(column for name, column in of_table.items() if name not in names), *served),
        )


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


def _check_weight(features: Mapping[str, Expression], weight: Numeric | None, derive: Mapping[str, Expression]) -> None:
    if weight is None or weight.name in derive:
        return
    for name, expression in features.items():
        if {weight.name, weight.source_column} & raw_columns({name: expression}).keys():
            raise ProblemError(
                "a derived feature reads the weight",
                where=f'{_WHERE}["{name}"]',
                expected="columns that the model gets: scoring and serving do not have the weight",
                received=shown(expression),
                fix='Derive the weight too: derive={"w": col(...)}, weight="w"',
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
                fix=_declared_fix(name, declared),
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
            if isinstance(node, ColumnReference) and node.name == other:
                return True
            if isinstance(node, ColumnReference) and node.name in derive and node.name not in seen:
                seen.add(node.name)
                waiting.append(node.name)
    return False


def _made(expression: Expression, column: Numeric | Categorical) -> Expression:
    where = f'{_WHERE}["{column.name}"], {type(column).__name__}("{column.name}")'
    return for_feature(expression, isinstance(column, Categorical), where)


def _inputs_of(expression: Expression) -> tuple[Numeric | Categorical, ...]:
    return tuple(_input(name, kind, True) for name, kind in sorted(raw_columns({"": expression}).items()))


def _input(name: str, kind: RawKind, optional: bool) -> Numeric | Categorical:
    return Categorical(name, optional=optional) if kind == "text" else _double(Numeric(name, optional=optional))


def _double(column: Numeric) -> Numeric:
    return dataclasses.replace(column, double=True)


def _declared_fix(column: str, declared: Mapping[str, Numeric | Categorical]) -> str:
    """The fix for an expression that reads a column of the table whose name a model cannot have."""
    for name, feature in declared.items():
        if feature.column == column:
            return f'Read it by its name in the Problem: col("{name}")'
    return f'Declare it under another name, Numeric("x", column={column!r}), and read col("x")'
