"""Golden check: a loaded model answers its golden rows as it should, each in the same bits whatever the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.saved_model.json.golden import first_difference
from headrace.core.saved_model.json.rows import rows_from_outputs
from headrace.core.scoring.online.model import OnlineModel


def check_golden(model: OnlineModel) -> int:
    """Scores a model's golden rows together and each alone, and compares.

    Returns:
        The number of golden rows; 0 for a SavedModel that is not a Model artifact.

    Raises:
        DataError: a prediction is missing, not finite, other than the Model states, or depends on the other rows.
        PlatformError: the model failed for a reason that is not in the rows.
    """
    instances, expected = model.source.warm_up, model.source.golden
    if not instances or not expected:
        return 0
    where = model.source.saved_model
    together = _outputs(model, instances, where)
    difference = first_difference(rows_from_outputs(together, bare=False, binary=model.binary), expected)
    if difference is not None:
        raise DataError(
            "the model's prediction differs from its golden row",
            where=f"{where}, {difference.where}",
            expected=difference.expected,
            received=difference.received,
        )
    for row, instance in enumerate(instances):
        alone = _outputs(model, [instance], where)
        for name, values in alone.items():
            if not _same_bits(values, together[name][row : row + 1]):
                raise DataError(
                    "the model's prediction for a row depends on the other rows of a batch",
                    where=f"{where}, golden row {row}, {name}",
                    expected=str(together[name][row]),
                    received=str(values[0]),
                )
    return len(instances)


def _outputs(model: OnlineModel, instances: Any, where: str) -> Mapping[str, npt.NDArray[Any]]:
    predicted = model.predict(columns_from_instances(instances, model.interface))
    for row, fault in predicted.faults.items():
        what = "the model has no prediction for a golden row"
        raise DataError(what, where=f"{where}, row {row}", received=fault.message)
    return predicted.outputs


def _same_bits(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return bool(np.array_equal(one, other)) if one.dtype == object else one.tobytes() == other.tobytes()
