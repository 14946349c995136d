"""Sample weights and class weights of a Problem, and their checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from headrace.core.checks import is_finite
from headrace.core.errors import ProblemError
from headrace.core.problem.features import Categorical, Numeric

BALANCED = "balanced"


def weight_column(declared: object) -> Numeric | None:
    """The column of sample weights; its minimum is 0 unless a higher one is declared.

    Args:
        declared: a column's name, a Numeric, or None.

    Raises:
        ProblemError: it has another type, or is a Numeric that is optional, has buckets, or a minimum below 0.
    """
    if declared is None:
        return None
    column = Numeric(declared) if isinstance(declared, str) else declared
    if not isinstance(column, Numeric):
        raise ProblemError(
            "weight is wrong", where="Problem", expected="a column's name, or a Numeric", received=repr(declared)
        )
    if column.minimum is None:
        column = dataclasses.replace(column, minimum=0)
    wrong = {
        "buckets": column.buckets is not None,
        "optional": column.optional,
        "minimum": column.minimum is not None and column.minimum < 0,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise ProblemError(
                "weight is wrong",
                where=f'Problem.weight, Numeric("{column.name}")',
                expected="a column without buckets, that each row has, of numbers of 0 or more",
                received=f"{name}={getattr(column, name)!r}",
            )
    return column


def check_weight(
    weight: Numeric | None, label: Numeric | Categorical, columns: Sequence[Numeric | Categorical], key: str | None
) -> None:
    """Checks that the column of sample weights is not used for anything else.

    Raises:
        ProblemError: the column is the label, a feature or the key.
    """
    if weight is None:
        return
    used = dict.fromkeys((label.name, label.source_column), "the label")
    used |= {name: "a feature" for column in columns for name in (column.name, column.source_column)}
    used |= {} if key is None else {key: "the key"}
    for name in (weight.name, weight.source_column):
        if name in used:
            raise ProblemError(
                f"the weight is {used[name]} too",
                where="Problem.weight",
                expected="a column that only weighs the row",
                received=f'"{name}"',
                fix='A weight may be derived from any column: derive={"w": col(...)}, weight="w"',
            )


def check_class_weights(weights: object, label: Numeric | Categorical) -> None:
    """Checks the class weights of Training against the label.

    Args:
        weights: "balanced", or numbers of 0 or more by class; None without class weights.
        label: the Problem's label.

    Raises:
        ProblemError: the label has no classes or lacks a named one, or no class has a weight above 0.
    """
    if weights is None:
        return
    where = "Problem.training, Training(class_weights=...)"
    if isinstance(label, Numeric):
        raise ProblemError(
            "class weights are for classes",
            where=where,
            expected="a Categorical label",
            received=f'Numeric("{label.name}")',
            fix='For weights of rows, declare their column: Problem(weight="...")',
        )
    if not isinstance(weights, Mapping):
        return
    classes = label.vocabulary or ()
    unknown = [name for name in weights if name not in classes]
    if unknown:
        raise ProblemError(
            f'the label has no class "{unknown[0]}"',
            where=where,
            expected=f"names among {', '.join(classes)}",
            received=repr(unknown[0]),
        )
    if not any(weights.get(name, 1) for name in classes):
        raise ProblemError(
            "no class has a weight", where=where, expected="a number greater than 0 of one class or more", received="0"
        )


def as_class_weights(weights: object) -> str | dict[str, float] | None:
    """Class weights, checked without the label.

    Raises:
        ProblemError: they are neither "balanced" nor finite numbers of 0 or more by class.
    """
    if weights is None or weights == BALANCED:
        return None if weights is None else BALANCED
    right = isinstance(weights, Mapping) and all(
        isinstance(name, str) and is_finite(value) and value >= 0 for name, value in weights.items()
    )
    if not right or not isinstance(weights, Mapping) or not weights:
        raise ProblemError(
            "class_weights are wrong",
            where="Training",
            expected=f'"{BALANCED}", or numbers of 0 or more by class: {{"yes": 5.0}}',
            received=repr(weights),
        )
    return dict(weights)
