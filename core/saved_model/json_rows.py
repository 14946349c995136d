"""Columns of predictions to JSON, for online and batch use; a prediction that is not finite is an error, never null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError


class NoPrediction(DataError):
    """The model has none for some rows of a request that is right, and will have none when it is asked again."""


class NotFinite(NoPrediction):
    """The model's prediction for some rows is not finite, which JSON cannot hold.

    Args:
        rows: by output, the indices of those rows.
        received: the first of the values.
    """

    def __init__(self, rows: Mapping[str, list[int]], received: str) -> None:
        name, indices = next(iter(rows.items()))
        super().__init__(
            "the model's prediction is not finite",
            where=f"predictions[{indices[0]}].{name}",
            expected="a finite number",
            received=received,
        )
        self.rows = {name: list(indices) for name, indices in rows.items()}


def rows_from_outputs(outputs: Mapping[str, npt.NDArray[Any]], *, bare: bool) -> list[Any]:
    """Predictions as one JSON value a row: an object by output, or the bare value of the only output.

    Args:
        outputs: a column for each output.
        bare: there is one output, and its values stand alone, as in TensorFlow Serving.

    Raises:
        NotFinite: as it says; with all rows of which it is so.
    """
    _check_finite(outputs)
    lists = {name: _plain(column) for name, column in outputs.items()}
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
        NotFinite: as it says; with all rows of which it is so.
    """
    _check_finite(outputs)
    lists = {name: _plain(column) for name, column in outputs.items()}
    return next(iter(lists.values())) if bare else lists


def _check_finite(outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    rows: dict[str, list[int]] = {}
    first = ""
    for name, column in outputs.items():
        if column.dtype.kind == "f" and not (finite := np.isfinite(column)).all():
            rows[name] = np.flatnonzero(~finite.reshape(len(column), -1).all(axis=1)).tolist()
            first = first or str(column[rows[name][0]])
    if rows:
        raise NotFinite(rows, first)


def _plain(column: npt.NDArray[Any]) -> list[Any]:
    values: list[Any] = column.tolist()
    return _decoded(values) if column.dtype.kind in "OS" else values


def _decoded(values: list[Any]) -> list[Any]:
    return [_decoded(v) if isinstance(v, list) else v.decode() if isinstance(v, bytes) else v for v in values]
