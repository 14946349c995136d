"""Nested lists: columns of lists of lists as one list of values per row, each level of the size that a model takes.

Where the model leaves the size of a level open, the lists of a row have one length there, which may differ by row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError
from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.interface import ModelInput


def flat_lists(
    column: pa.Array, taken: ModelInput, faults: list[RuleViolation]
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The values of each row, in the order of the nested lists; null where the row has none, or lists of other sizes.

    Args:
        column: [rows] of lists.
        taken: the input, with its inner dimensions.
        faults: the fault of rows whose lists have other sizes is appended to it.

    Returns:
        [rows] of lists, each as long as the product of its dimensions, and these dimensions, [rows, levels].

    Raises:
        DataError: the column is nested less or more deeply.
    """
    rows = len(column)
    missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
    bad = np.zeros(rows, np.bool_)
    owner, level = np.flatnonzero(~missing), column.drop_null()
    shapes = np.tile(np.array(taken.dims, np.int64), (rows, 1))
    for depth, size in enumerate(taken.dims):
        if pa.types.is_null(level.type):
            # Of lists without values, nothing is known of the levels below.
            break
        if not _is_list(level.type):
            raise _not_nested(column, taken)
        lengths = pc.fill_null(pc.list_value_length(level), -1).to_numpy(zero_copy_only=False)
        longest = np.full(rows, size or -1)
        if not size:
            np.maximum.at(longest, owner, lengths)
        wrong = (lengths != longest[owner]) | (lengths < 0)
        bad[owner[wrong]] = True
        if wrong.any():
            owner, level, lengths = owner[~wrong], level.filter(pa.array(~wrong)), lengths[~wrong]
        shapes[owner, depth] = lengths
        owner, level = np.repeat(owner, lengths), level.flatten()
    if _is_list(level.type):
        raise _not_nested(column, taken)
    if bad.any():
        shape = [size or "any" for size in taken.dims]
        message = f"which is not of shape [{', '.join(map(str, shape))}]"
        faults.append(
            RuleViolation(taken.columns[0], "malformed_row", bad, lambda v: f"{taken.columns[0]} is {v}, {message}")
        )
        level = level.filter(pa.array(~bad[owner]))
    absent = missing | bad
    shapes[absent] = 0
    offsets = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), level, mask=pa.array(absent)), shapes


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _not_nested(column: pa.Array, taken: ModelInput) -> DataError:
    return DataError(
        "the column is not of lists as deep as the input",
        where=taken.columns[0],
        expected=f"lists nested {len(taken.dims)} deep, for the model's input {taken.name} {taken.shape}",
        received=str(column.type),
    )
