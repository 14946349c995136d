"""Extreme rows, on which a user's model is checked before training, in addition to ordinary rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.components.train.model.scaled_numbers import own_units
from headrace.core.expressions.lower_numpy import derive
from headrace.core.problem import Numeric, Problem
from headrace.core.values.scaling import scaled, unscaled_number

_MAX_COLUMNS = 500
_UNSEEN = b"a value that no row had"


def extreme_rows(
    problem: Problem, statistics: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds to `rows` copies of the first one, each with the minimum or maximum of a number or an unseen category.

    Derived features of the copies are computed from the changed columns, as the exported model computes them.

    Args:
        problem: the Problem.
        statistics: by column name, of numbers as Examples hold them.
        rows: features, the columns that derived ones read, and "key" by name, numpy arrays, as Examples hold them.
    """
    changed: list[tuple[str, Any]] = []
    for column in problem.derivation.served[:_MAX_COLUMNS]:
        if isinstance(column, Numeric):
            measured = statistics.get(column.name, {})
            extremes = (measured.get(name) for name in ("minimum", "maximum"))
            changed += [(column.name, value) for value in extremes if value is not None]
        elif column.vocabulary is None or column.max_unknown is not None:
            changed.append((column.name, _UNSEEN))
    copies = {name: np.concatenate([values, values[:1].repeat(len(changed), axis=0)]) for name, values in rows.items()}
    begin = len(rows["key"])
    exponents = problem.exponents
    for at, (name, value) in enumerate(changed, start=begin):
        copies[name][at] = value
        if name in problem.derivation.exact:
            copies[problem.derivation.exact[name]][at] = unscaled_number(value, exponents.get(name, 0))
    own = own_units(problem, copies)
    read = {column.name: _plain(own[column.name][begin:]) for column in problem.derivation.served}
    for name, values in derive(problem.derivation.features, read).items():
        is_text = values.dtype == object
        copies[name][begin:] = [v.encode() for v in values] if is_text else scaled(values, exponents.get(name, 0))
    return copies


def _plain(values: Any) -> Any:
    """Values as expressions read them: texts as str."""
    return np.array([text.decode() for text in values], object) if values.dtype == object else values
