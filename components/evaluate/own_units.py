"""Numbers of evaluated rows in the columns' own units, as in requests to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from headrace.core.problem import Numeric, Problem
from headrace.core.scoring.predictor import InputColumn, Texts
from headrace.core.values.doubles import doubles_of
from headrace.core.values.scaling import unscaled


def own_units(problem: Problem, batch: Mapping[str, InputColumn]) -> dict[str, NDArray[np.float64]]:
    """The columns that Examples hold as texts or divided by 2 ** exponent, [batch] each; all but the sample weights.

    Metrics depend only on the proportions of the weights, whose sums in their own unit might overflow float64.

    Args:
        problem: declares the columns.
        batch: columns as Examples hold them.
    """
    held = {column.name: column.name for column in problem.derivation.inputs if isinstance(column, Numeric)}
    found: dict[str, NDArray[np.float64]] = {}
    for name, column in (held | dict(problem.derivation.exact)).items():
        texts = cast(Texts, batch[column])
        found[name] = doubles_of(texts.values)[texts.codes]
    weight = problem.weight_column
    for name, exponent in problem.exponents.items():
        if name not in found and (weight is None or name != weight.name):
            found[name] = unscaled(cast(NDArray[np.float32], batch[name]), exponent)
    return found
