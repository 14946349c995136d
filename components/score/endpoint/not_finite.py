"""Rows whose prediction is not finite, which JSON cannot hold: how our server says it, and what stands in for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.core.saved_model.interface import ModelOutput
from headrace.core.scoring.bisect import RowsFailed
from headrace.core.scoring.to_columns import Answer

# `serve.protocol.refusal`, which a batch prediction job puts into a sentence of its own.
_SAID = re.compile(r'"not_finite":\s*(\{[^{}]*\})')

Rows = Mapping[str, Sequence[int]]


class NotFinite(RowsFailed):
    """A server refuses rows because their prediction is not finite.

    Args:
        message: what it says.
        rows: by output, the indices of those rows in the request.
    """

    def __init__(self, message: str, rows: Rows) -> None:
        super().__init__(message)
        self.rows = rows


def rows_said(text: str) -> Rows | None:
    """The rows, by output, of which a text says what our server does; None where it does not."""
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
    """The answers to all rows: NaN where the server says that the prediction is not finite, as the model gave it.

    The request is made again with copies of another row in the place of such rows, so that two requests are enough
    however many there are, and the others' predictions come from a batch of the same size.

    Args:
        ask: answers columns of JSON values.
        columns: by input.
        rows: of them; an index that the server names beyond is of a copy of the last one.
        outputs: of the model.

    Raises:
        RowsFailed: the server refuses the rows for another reason, or says it of what cannot be NaN.
    """
    bad: dict[str, set[int]] = {}
    guilty: set[int] = set()
    while True:
        try:
            answers = ask(columns)
            break
        except NotFinite as error:
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
    """Whether these are outputs of real numbers, which alone can be NaN."""
    return set(names) <= {given.name for given in outputs if "float" in given.dtype}


def can_be_blank(outputs: Sequence[ModelOutput]) -> bool:
    """Whether it is known how wide every output is, so that an answer can be made up."""
    return all(given.width != 0 for given in outputs)


def blank(outputs: Sequence[ModelOutput], rows: int, nan: Collection[str] = ()) -> dict[str, Answer]:
    """Answers that mean nothing, to rows that go to quarantine for those of the outputs `nan`, which are NaN."""
    made: dict[str, Answer] = {}
    for given in outputs:
        if given.dtype == "string":
            made[given.name] = pa.array([b""] * (rows * (given.width or 1)), pa.binary())
        else:
            shape = [rows] if given.width is None else [rows, given.width]
            dtype = "float32" if given.dtype == "bfloat16" else given.dtype
            made[given.name] = np.full(shape, np.nan if given.name in nan else 0, dtype)
    return made
