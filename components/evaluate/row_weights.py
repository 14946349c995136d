"""Sample weights of evaluated rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.artifacts import EvaluatedSplit
from headrace.core.errors import DataError
from headrace.core.scoring.predictor import InputColumn


def weights_of(
    name: str, batch: Mapping[str, InputColumn], keys: NDArray[np.object_], split: EvaluatedSplit
) -> NDArray[np.float64]:
    """[batch] sample weights.

    Args:
        name: name of the weight's column.
        batch: columns of the rows.
        keys: [batch] keys of the rows.
        split: the rows' split.

    Raises:
        DataError: a weight is missing, infinite or below 0.
    """
    values = cast(NDArray[np.float32], batch[name]).astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(
            f'the row with key {keys[bad[0]]} has no usable weight "{name}"',
            where=split.uri,
            expected="a finite number of 0 or more",
            received=str(values[bad[0]]),
            fix="Run preprocess again with this Problem file",
        )
    return values


def checked_weight(weights: NDArray[np.float64], split: EvaluatedSplit) -> NDArray[np.float64]:
    """[rows] weights of a whole split.

    Raises:
        DataError: no weight is above 0, so that no metric is defined.
    """
    if not weights.any():
        raise DataError(
            f"the weight is 0 in every row of the {split.name} split",
            where=split.uri,
            expected="a weight above 0 in one row or more",
            received="0",
            fix="Correct the column, or leave Problem(weight=...) out",
        )
    return weights
