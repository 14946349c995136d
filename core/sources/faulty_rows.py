"""Rows with values that their types do not have: they leave a batch for quarantine, and the others stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.sources.source import file_name
from headrace.core.values.columns import json_value

# Maximum characters of a value in a message.
SHOWN = 60

# A column of a batch, and the faults of its rows by their index.
CheckedColumn = tuple[pa.Array, Mapping[int, Fault]]


def not_utf8(name: str, value: bytes) -> Fault:
    """The fault of a row with a text that is not UTF-8.

    Args:
        name: of the column.
        value: the text's bytes.
    """
    return Fault(name, "not_utf8", f"{name} is not UTF-8: {ascii(value)[:SHOWN]}")


def split_batch(
    path: str, first: int, columns: Mapping[str, CheckedColumn], written: Callable[[str, int], Any]
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
    """The rows without a fault, their numbers, and the rows with one.

    Args:
        path: the file.
        first: the number of the first row.
        columns: by name, one or more.
        written: gives a value with a fault as quarantine holds it, by the column's name and the row's index.
    """
    batch = pa.RecordBatch.from_arrays([array for array, _ in columns.values()], names=list(columns))
    numbers = np.arange(first, first + batch.num_rows)
    bad = sorted(set().union(*(faults for _, faults in columns.values())))
    if not bad:
        return batch, numbers, ()
    good = np.ones(batch.num_rows, np.bool_)
    good[bad] = False
    refused = tuple(_refused(path, first, row, columns, written) for row in bad)
    return batch.filter(pa.array(good)), numbers[good], refused


def _refused(
    path: str, first: int, row: int, columns: Mapping[str, CheckedColumn], written: Callable[[str, int], Any]
) -> QuarantinedRow:
    found: Sequence[Fault] = [faults[row] for _, faults in columns.values() if row in faults]
    values = {
        name: written(name, row) if row in faults else json_value(array[row])
        for name, (array, faults) in columns.items()
    }
    return QuarantinedRow(file_name(path), first + row, found[0], values, tuple(found[1:]))
