"""Extreme rows, on which a user's model is checked before training, in addition to ordinary rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.core.problem import Numeric, Problem

_MAX_COLUMNS = 500
_UNSEEN = b"a value that no row had"


def extreme_rows(
    problem: Problem, statistics: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds to `rows` copies of the first one, each with the minimum or maximum of a number or an unseen category.

    Args:
        problem: what was declared.
        statistics: by column name, as in statistics.json.
        rows: features and "key" by name, numpy arrays.
    """
    changed: list[tuple[str, Any]] = []
    for column in problem.columns[:_MAX_COLUMNS]:
        if isinstance(column, Numeric):
            extremes = (statistics[column.name].get(name) for name in ("minimum", "maximum"))
            changed += [(column.name, value) for value in extremes if value is not None]
        elif column.vocabulary is None or column.max_unknown is not None:
            changed.append((column.name, _UNSEEN))
    copies = {name: np.concatenate([values, values[:1].repeat(len(changed), axis=0)]) for name, values in rows.items()}
    begin = len(rows["key"])
    for at, (name, value) in enumerate(changed, start=begin):
        copies[name][at] = value
    return copies
