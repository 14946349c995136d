"""Predictions that are not finite, which JSON cannot hold: parses the server's message and substitutes NaN."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.core.saved_model.interface import ModelOutput
from headrace.core.scoring.bisect import RowsFailed

if TYPE_CHECKING:
    from headrace.core.scoring.to_columns import Answer

# The message of `serve.protocol.refusal`, which a batch prediction job embeds in its own message.
_SAID = re.compile(r'"not_finite":\s*(\{[^{}]*\})')

RowsByOutput = Mapping[str, Sequence[int]]


class NotFiniteRows(RowsFailed):
    """A server refuses rows because their prediction is not finite.

    Args:
        message: the server's message.
        rows: by output, the indices of those rows in the request.
    """

    def __init__(self, message: str, rows: RowsByOutput) -> None:
        super().__init__(message)
        self.rows = rows


def rows_said(text: str) -> RowsByOutput | None:
    """Parses the rows, by output, from a message of headrace's server; None for other messages."""
    found = _SAID.search(text)
    try:
        rows = json.loads(found[1]) if found else None
    except ValueError:
        return None
    if not rows or not all(isinstance(indices, list) and _are_indices(indices) for indices in rows.values()):
        return None
    return {str(name): indices for name, indices in rows.items()}


def _are_indices(values: Sequence[Any]) -> bool:
    return bool(values) and all(type(value) is int and value >= 0 for value in values)


def answers_around(
    ask: Callable[[Mapping[str, list[Any]]], dict[str, Answer]],
    columns: Mapping[str, list[Any]],
    rows: int,
    outputs: Sequence[ModelOutput],
) -> dict[str, Answer]:
    """Predicts all rows, with NaN for predictions that the server reports as not finite.

    The request is repeated with copies of another row in place of such rows. Two requests suffice for any number of
    them, and the other rows are predicted in a batch of the same size.

    Args:
        ask: requests predictions for columns of JSON values.
        columns: by input.
        rows: number of rows; a larger index in the server's message is of a copy of the last row.
        outputs: of the model.

    Raises:
        RowsFailed: the server refuses the rows for another reason, or names an output that cannot be NaN.
    """
    bad: dict[str, set[int]] = {}
    guilty: set[int] = set()
    while True:
        try:
            answers = ask(columns)
            break
        except NotFiniteRows as error:
            named = {name: {min(row, rows - 1) for row in indices} for name, indices in error.rows.items()}
            more = set().union(*named.values()) - guilty
            if not more or not are_real(named, outputs):
                raise
            guilty |= more
            for name, indices in named.items():
                bad.setdefault(name, set()).update(indices)
            good = next((row for row in range(rows) if row not in guilty), None)
            if good is None:
                if not can_be_blank(outputs):
                    raise
                answers = blank(outputs, rows)
                break
            columns = {
                name: [values[good] if row in guilty else value for row, value in enumerate(values)]
                for name, values in columns.items()
            }
    for name, indices in bad.items():
        answers[name] = np.array(answers[name])
        answers[name][sorted(indices)] = np.nan
    return answers


def are_real(names: Collection[str], outputs: Sequence[ModelOutput]) -> bool:
    """Whether all of these outputs are floats, which can be NaN."""
    return set(names) <= {given.name for given in outputs if "float" in given.dtype}


def can_be_blank(outputs: Sequence[ModelOutput]) -> bool:
    """Whether the width of each output is known, so that a placeholder can be created."""
    return all(given.width != 0 for given in outputs)


def blank(outputs: Sequence[ModelOutput], rows: int, nan: Collection[str] = ()) -> dict[str, Answer]:
    """Placeholder predictions for rows that will be quarantined because the outputs `nan` are NaN."""
    # The image of the Kafka scorer lacks it, and reads messages alone.
    import pyarrow as pa

    made: dict[str, Answer] = {}
    for given in outputs:
        if given.dtype == "string":
            made[given.name] = pa.array([b""] * (rows * (given.width or 1)), pa.binary())
        else:
            shape = [rows] if given.width is None else [rows, given.width]
            dtype = "float32" if given.dtype == "bfloat16" else given.dtype
            made[given.name] = np.full(shape, np.nan if given.name in nan else 0, dtype)
    return made
