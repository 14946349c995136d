"""Row faults: collects the faults of a batch from its columns, and the rows to quarantine."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts import quarantine as quarantined_rows
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError
from headrace.core.rows.validate import quarantine
from headrace.core.rules.column import bytes_fault, key_fault
from headrace.core.rules.fault import RuleViolation, shown
from headrace.core.sources.source import Rows
from headrace.core.values.columns import Mask, json_value, texts

_NONE: Mapping[str, pa.Array] = MappingProxyType({})


class RowFaults:
    """The faults of the rows of a batch."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._by_row: defaultdict[int, list[quarantined_rows.Fault]] = defaultdict(list)

    @property
    def any(self) -> bool:
        """Whether a row has a fault."""
        return bool(self._by_row)

    @property
    def good(self) -> Mask:
        """Mask of the rows without a fault."""
        mask = np.ones(self._rows.batch.num_rows, np.bool_)
        mask[list(self._by_row)] = False
        return mask

    def add(
        self,
        faults: Iterable[RuleViolation],
        at: npt.NDArray[np.int64] | None = None,
        columns: Mapping[str, pa.Array] = _NONE,
    ) -> None:
        """Adds refusing faults, of all rows or of those at `at`; `columns` are additional to the batch's."""
        for fault in (fault for fault in faults if fault.refuses):
            for index in np.flatnonzero(fault.rows).tolist():
                row = index if at is None else int(at[index])
                value = "" if fault.column is None else self._shown(fault.column, row, columns)
                self._by_row[row].append(quarantined_rows.Fault(fault.column, fault.reason, fault.message(value)))

    def blame(self, row: int, said: str | Sequence[quarantined_rows.Fault]) -> None:
        """Adds the model's error on a row, or the faults for which a server refused it."""
        faults = [quarantined_rows.Fault(None, "model_failed", said)] if isinstance(said, str) else said
        self._by_row[row] += faults

    def rows(self, columns: Sequence[str]) -> Iterator[QuarantinedRow]:
        """The rows at fault, with their values in those of `columns` that exist.

        For prepared rows, these are the values before preparation.
        """
        rows, there = self._rows, [name for name in columns if name in self._rows.batch.schema.names]
        if rows.unprepared is not None:
            rows = dataclasses.replace(rows, batch=rows.unprepared)
            there = rows.batch.schema.names
        for row, faults in self._by_row.items():
            yield quarantine(rows, row, there, *faults)

    def _shown(self, column: str, row: int, columns: Mapping[str, pa.Array]) -> str:
        values = columns[column] if column in columns else self._rows.batch.column(column)
        return shown(json_value(values[row]))


def key_faults(batch: pa.RecordBatch, name: str | None, *, ruled: bool) -> list[RuleViolation]:
    """Rows without a key.

    Args:
        batch: the rows.
        name: the key's column; None without a key.
        ruled: whether it is a Model, whose rules for keys apply.

    Raises:
        DataError: the column is missing.
    """
    if name is None:
        return []
    if name not in batch.schema.names:
        raise DataError(
            "the key's column is missing from the rows", where=name, received=f"columns {', '.join(batch.schema.names)}"
        )
    column = batch.column(name)
    found: list[RuleViolation] = []
    if ruled and (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column, bad = texts(column)
        found = [bytes_fault(name, bad)] if bad.any() else []
        column = pc.if_else(pa.array(bad), "-", column)
    missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = missing | pc.equal(column, "").fill_null(False).to_numpy(zero_copy_only=False)
    return [*found, key_fault(name, missing)] if missing.any() else found
