"""JSON predictions from columns; a prediction that is not finite is an error, never null."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError


class NoPrediction(DataError):
    """The model has no prediction for some rows of a valid request; retrying does not help."""


class NotFinitePrediction(NoPrediction):
    """The model's prediction for some rows is not finite, which JSON cannot hold.

    Args:
        rows: the indices of those rows, by output.
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


def rows_from_outputs(
    outputs: Mapping[str, npt.NDArray[Any]], *, bare: bool, binary: Collection[str] = ()
) -> list[Any]:
    """Predictions as one JSON value per row: an object by output, or the bare value of the only output.

    Args:
        outputs: a column per output, without numbers that are not finite; lists of different lengths are an object
            array, one array per row.
        bare: whether the values of the only output are not wrapped in an object, as in TensorFlow Serving.
        binary: outputs that hold bytes, which become {"b64": "..."}.

    Raises:
        NoPrediction: a text is not UTF-8.
    """
    if bare:
        return next(_plain(name, column, name in binary) for name, column in outputs.items())
    names = tuple(outputs)
    lists = [_plain(name, column, name in binary) for name, column in outputs.items()]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def columns_from_outputs(outputs: Mapping[str, npt.NDArray[Any]], *, bare: bool, binary: Collection[str] = ()) -> Any:
    """Predictions as JSON arrays: an object by output, or the bare array of the only output.

    Args and errors as of `rows_from_outputs`.
    """
    lists = {name: _plain(name, column, name in binary) for name, column in outputs.items()}
    return next(iter(lists.values())) if bare else lists


def _plain(name: str, column: npt.NDArray[Any], binary: bool) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind not in "OS":
        return values
    return [_encoded(value) if binary else _decoded(name, value) for value in values]


def _encoded(value: Any) -> Any:
    """Bytes, or arrays and lists of bytes, as JSON has them."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_encoded(inner) for inner in value]
    return {"b64": base64.b64encode(value).decode()}


def check_finite(outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises NotFinitePrediction, with all affected rows, if a column per output holds numbers that are not finite."""
    rows: dict[str, list[int]] = {}
    first = ""
    for name, column in outputs.items():
        bad = _not_finite(column)
        if bad:
            rows[name] = bad
            first = first or str(column[bad[0]])
    if rows:
        raise NotFinitePrediction(rows, first)


def _not_finite(column: npt.NDArray[Any]) -> list[int]:
    """The rows with a number that is not finite."""
    if column.dtype.kind == "f":
        finite = np.isfinite(column)
        return [] if finite.all() else np.flatnonzero(~finite.reshape(len(column), -1).all(axis=1)).tolist()
    # Lists of different lengths are one array per row.
    lists = column.dtype.kind == "O" and any(isinstance(row, np.ndarray) for row in column)
    rows = enumerate(column) if lists else ()
    return [at for at, row in rows if row.dtype.kind == "f" and not np.isfinite(row).all()]


def _decoded(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_decoded(name, inner) for inner in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise NoPrediction(
            f"the model's output {name} is not UTF-8 text",
            expected="text, or bytes in an output whose name ends in _bytes",
            received=ascii(value)[:80],
        ) from error
