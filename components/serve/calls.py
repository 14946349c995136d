"""Calls of a model for one request: rows of one shape together, and as many rows as each call must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.saved_model.json.columns import Columns

Places = npt.NDArray[np.int64]


def answers_in_calls(call: Callable[[Columns], Columns], columns: Columns, rows: int, batch: int | None) -> Columns:
    """A model's answers to the rows of a request, in their order.

    Args:
        call: the model, on columns of rows of one shape; it answers every row.
        columns: by input, of JSON.
        rows: how many.
        batch: rows that every call must have, where the model fixes them; copies of the last row fill one up.

    Returns:
        Each output by name, [rows, ...]; [rows] of objects, an array a row, where lists are of several lengths.
    """
    pieces: list[tuple[Places, Mapping[str, npt.NDArray[Any]]]] = []
    for group in _groups(columns, rows):
        for begin in range(0, len(group), batch or len(group)):
            at = group[begin : begin + (batch or len(group))]
            filled = np.concatenate([at, np.repeat(at[-1:], (batch or len(at)) - len(at))])
            answers = call({name: _dense(column, filled) for name, column in columns.items()})
            pieces.append((at, {name: answer[: len(at)] for name, answer in answers.items()}))
    if len(pieces) == 1:
        return dict(pieces[0][1])
    order = np.argsort(np.concatenate([at for at, _ in pieces]), kind="stable")
    return {name: _joined([answers[name] for _, answers in pieces], order) for name in pieces[0][1]}


def _groups(columns: Columns, rows: int) -> Iterator[Places]:
    """The places of rows whose lists are as long as each other's."""
    shapes = [_lengths(column) for column in columns.values() if _is_of_lists(column)]
    if not shapes:
        yield np.arange(rows)
        return
    _, group = np.unique(np.stack(shapes, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    for number in range(int(group.max()) + 1):
        yield np.flatnonzero(group == number)


def _is_of_lists(column: npt.NDArray[Any]) -> bool:
    return column.dtype == object and column.ndim == 1 and len(column) > 0 and isinstance(column[0], np.ndarray)


def _lengths(column: npt.NDArray[Any]) -> Places:
    return np.array([len(row) for row in column], np.int64)


def _dense(column: npt.NDArray[Any], at: Places) -> npt.NDArray[Any]:
    return np.stack([column[row] for row in at]) if _is_of_lists(column) else column[at]


def _joined(pieces: Sequence[npt.NDArray[Any]], order: Places) -> npt.NDArray[Any]:
    if len({piece.shape[1:] for piece in pieces}) == 1:
        joined: npt.NDArray[Any] = np.concatenate(pieces)[order]
        return joined
    rows = np.empty(sum(map(len, pieces)), object)
    rows[:] = [row for piece in pieces for row in piece]
    return rows[order]
