"""Columns of predictions to JSON, for online and batch use; a prediction that is not finite is an error, never null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.components.errors import PlatformError


def rows_from_outputs(outputs: Mapping[str, npt.NDArray[Any]], *, bare: bool) -> list[Any]:
    """Predictions as one JSON value a row: an object by output, or the bare value of the only output.

    Args:
        outputs: a column for each output.
        bare: there is one output, and its values stand alone, as in TensorFlow Serving.

    Raises:
        PlatformError: a prediction is not finite.
    """
    lists = {name: _plain(name, column) for name, column in outputs.items()}
    if bare:
        return next(iter(lists.values()))
    names = tuple(lists)
    return [dict(zip(names, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def columns_from_outputs(outputs: Mapping[str, npt.NDArray[Any]], *, bare: bool) -> Any:
    """Predictions as JSON arrays: an object by output, or the bare array of the only output.

    Args:
        outputs: a column for each output.
        bare: there is one output, and its values stand alone, as in TensorFlow Serving.

    Raises:
        PlatformError: a prediction is not finite.
    """
    lists = {name: _plain(name, column) for name, column in outputs.items()}
    return next(iter(lists.values())) if bare else lists


def _plain(name: str, column: npt.NDArray[Any]) -> list[Any]:
    if column.dtype.kind == "f" and not (finite := np.isfinite(column)).all():
        index = int(np.argwhere(~finite)[0][0])
        raise PlatformError(
            "the model's prediction is not finite",
            where=f"predictions[{index}].{name}",
            expected="a finite number",
            received=str(column[index]),
        )
    values: list[Any] = column.tolist()
    return _decoded(values) if column.dtype.kind in "OS" else values


def _decoded(values: list[Any]) -> list[Any]:
    return [_decoded(v) if isinstance(v, list) else v.decode() if isinstance(v, bytes) else v for v in values]
