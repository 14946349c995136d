"""Ragged columns: rows whose lists differ in length, grouped into dense calls of a model, and merged afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def is_ragged(column: Any) -> bool:
    """Whether a column has one array per row, [rows] of objects, because its lists differ in length."""
    return (
        isinstance(column, np.ndarray)
        and column.dtype == object
        and column.ndim == 1
        and len(column) > 0
        and isinstance(column[0], np.ndarray)
    )


def groups_of_one_shape(columns: Mapping[str, Any], rows: int) -> list[Indices] | None:
    """The indices of rows whose lists have equal lengths, by group; None where no column is ragged."""
    shapes = [np.array([row.shape for row in column], np.int64) for column in columns.values() if is_ragged(column)]
    if not shapes or not rows:
        return None
    _, group = np.unique(np.concatenate(shapes, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def dense(column: npt.NDArray[Any], at: Indices) -> npt.NDArray[Any]:
    """The rows at `at`, whose lists have one shape: [rows], [rows, n] or [rows, *dims]."""
    return np.stack([column[row] for row in at]) if is_ragged(column) else column[at]


def concatenated(pieces: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The rows of several arrays, one after the other; ragged where the lists of the arrays differ in length."""
    if len(pieces) == 1:
        return pieces[0]
    ragged = any(is_ragged(piece) for piece in pieces)
    if not ragged and len({piece.shape[1:] for piece in pieces}) == 1:
        joined: npt.NDArray[Any] = np.concatenate(pieces)
        return joined
    rows = np.empty(sum(map(len, pieces)), object)
    at = 0
    for piece in pieces:
        for row in piece:
            rows[at] = row
            at += 1
    return rows


def part_of(column: npt.NDArray[Any], begin: int, end: int) -> npt.NDArray[Any]:
    """Rows of a column; lists of one length are one array, whatever lengths other rows of the column have."""
    part = column[begin:end]
    if is_ragged(part) and len({row.shape for row in part}) == 1:
        return np.stack(list(part))
    return part
