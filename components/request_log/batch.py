"""Logged batch: columns and predictions of some rows, and its form as one line of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError

Arrays = Mapping[str, npt.NDArray[Any]]

# Object columns: of strings or bytes, or of one array per row where lists have several lengths.
_TEXT, _RAGGED = "text", "ragged "
_B64 = "b64"


@dataclass(frozen=True)
class LoggedBatch:
    """Rows that one version predicted at one time.

    Attributes:
        columns: by input of the model, [rows, ...], as it read them: numbers (NaN: missing) or texts ("": missing),
            and `key` where requests have keys.
        predictions: by output, [rows, ...]; the same rows.
        version: of the model that predicted.
        time: of the prediction, in seconds since the epoch.
    """

    columns: Arrays
    predictions: Arrays
    version: str
    time: float

    @property
    def rows(self) -> int:
        """Number of rows."""
        return next((len(values) for part in (self.columns, self.predictions) for values in part.values()), 0)

    @property
    def size(self) -> int:
        """Size in memory in bytes, estimated for texts."""
        arrays = [*self.columns.values(), *self.predictions.values()]
        return sum(values.nbytes * (8 if values.dtype == object else 1) for values in arrays)

    def take(self, at: npt.NDArray[np.int64]) -> LoggedBatch:
        """The rows at some places."""
        columns = {name: values[at] for name, values in self.columns.items()}
        predictions = {name: values[at] for name, values in self.predictions.items()}
        return LoggedBatch(columns, predictions, self.version, self.time)

    def to_line(self) -> bytes:
        """The batch as a line of JSON; numbers are exact, and NaN is written as NaN."""
        content = {
            "time": self.time,
            "version": self.version,
            "columns": {name: _to_json(values) for name, values in self.columns.items()},
            "predictions": {name: _to_json(values) for name, values in self.predictions.items()},
        }
        return json.dumps(content, separators=(",", ":"), default=_bytes_to_json).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes, where: str) -> LoggedBatch:
        """The batch of `to_line`.

        Args:
            line: with or without its end.
            where: its file, for messages.

        Raises:
            DataError: the line is damaged.
        """
        try:
            content = json.loads(line, object_hook=_bytes_from_json)
            columns, predictions = (
                {name: _from_json(*each) for name, each in content[part].items()} for part in ("columns", "predictions")
            )
            batch = LoggedBatch(columns, predictions, content["version"], float(content["time"]))
            lengths = {len(values) for part in (columns, predictions) for values in part.values()}
            if len(lengths) != 1:
                raise ValueError("columns of different lengths")
            return batch
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "a line of the request log is damaged",
                where=where,
                expected="a batch of rows as JSON",
                received=f"{type(error).__name__}: {error}",
            ) from error


def _to_json(values: npt.NDArray[Any]) -> tuple[str, list[Any]]:
    if values.dtype != object:
        # numpy has no bfloat16 of its own; every one of its numbers is a float32.
        plain = values.astype(np.float32) if values.dtype.kind == "V" else values
        return plain.dtype.name, plain.tolist()
    first = next(iter(values.ravel()), "")
    if isinstance(first, np.ndarray):
        return _RAGGED + first.dtype.name, [row.tolist() for row in values]
    return _TEXT, values.tolist()


def _from_json(kind: str, values: list[Any]) -> npt.NDArray[Any]:
    if kind.startswith(_RAGGED):
        rows = np.empty(len(values), object)
        rows[:] = [np.array(row, kind.removeprefix(_RAGGED)) for row in values]
        return rows
    return np.array(values, object if kind == _TEXT else kind)


def _bytes_to_json(value: Any) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return {_B64: base64.b64encode(value).decode()}


def _bytes_from_json(value: dict[str, Any]) -> Any:
    encoded = value.get(_B64)
    return base64.b64decode(encoded) if isinstance(encoded, str) else value
