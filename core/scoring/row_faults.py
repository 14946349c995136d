"""What is wrong with the rows of a batch, gathered from columns, and the rows that go to quarantine for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts import quarantine as quarantined_rows
from headrace.core.artifacts.quarantine import QuarantinedRow, Reason
from headrace.core.errors import DataError
from headrace.core.rows.validate import quarantine
from headrace.core.scoring.feeds import Fault
from headrace.core.sources.source import Rows
from headrace.core.values.columns import Mask

_SHOWN = 40


class RowFaults:
    """What is wrong with the rows of a batch."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._by_row: defaultdict[int, list[quarantined_rows.Fault]] = defaultdict(list)

    @property
    def any(self) -> bool:
        """Some row has one."""
        return bool(self._by_row)

    @property
    def good(self) -> Mask:
        """Which rows have no fault."""
        mask = np.ones(self._rows.batch.num_rows, np.bool_)
        mask[list(self._by_row)] = False
        return mask

    def add(self, faults: Iterable[Fault], at: npt.NDArray[np.int64] | None = None) -> None:
        """Adds faults of all rows, or of those at `at`."""
        for fault in faults:
            for index in np.flatnonzero(fault.rows).tolist():
                row = index if at is None else int(at[index])
                value = "" if fault.column is None else self._shown(fault.column, row)
                self._by_row[row].append(quarantined_rows.Fault(fault.column, fault.reason, fault.message(value)))

    def blame(self, row: int, reason: Reason, message: str) -> None:
        """Adds a fault of one row as a whole."""
        self._by_row[row].append(quarantined_rows.Fault(None, reason, message))

    def rows(self, columns: Sequence[str]) -> Iterator[QuarantinedRow]:
        """The rows at fault, with what they held in those of `columns` that are there."""
        there = [name for name in columns if name in self._rows.batch.schema.names]
        for row, faults in self._by_row.items():
            yield quarantine(self._rows, row, there, *faults)

    def _shown(self, column: str, row: int) -> str:
        value = self._rows.batch.column(column)[row].as_py()
        text = f'"{value}"' if isinstance(value, str) else str(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def key_faults(batch: pa.RecordBatch, name: str | None) -> list[Fault]:
    """Rows without a key.

    Args:
        batch: of the rows.
        name: the key's column; None where rows have none.

    Raises:
        DataError: it is not there.
    """
    if name is None:
        return []
    if name not in batch.schema.names:
        raise DataError(
            "the rows lack the key's column", where=name, received=f"columns {', '.join(batch.schema.names)}"
        )
    column = batch.column(name)
    missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = missing | pc.equal(column, "").fill_null(False).to_numpy(zero_copy_only=False)
    if not missing.any():
        return []
    return [Fault(name, "missing_key", missing, lambda _: f"{name} is empty, and is the key")]
