"""Refused rows: those of a request that break the rules of the Model, each with its field, reason and message."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.artifacts import quarantine
from headrace.core.errors import DataError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import RuleViolation, shown
from headrace.core.rules.model import ModelRules

# Maximum rows listed in the response, and named in its message.
LISTED_ROWS = 1000
_NAMED_ROWS = 10
# Fields that are compared with the one that is missing; an object may have hundreds of thousands.
_COMPARED = 100


class RowsRefused(DataError):
    """Rows of a request break the rules of the Model.

    Args:
        what: the error message.
        rows: the faults of the first LISTED_ROWS refused rows, by index.
        count: number of refused rows.
    """

    def __init__(
        self, what: str, rows: Mapping[int, Sequence[quarantine.Fault]] | None = None, count: int = 0, **more: Any
    ) -> None:
        super().__init__(what, **more)
        self.rows = dict(rows or {})
        self.count = count

    def to_response(self) -> dict[str, Any]:
        """The body of the response: the error, and the faults of each listed row."""
        refused = [{"row": row, **fault.to_json()} for row, faults in self.rows.items() for fault in faults]
        more = {"refused_rows": self.count} if self.count > len(self.rows) else {}
        return {"error": self.paragraph, "refused": refused, **more}


def refuse(
    rules: ModelRules,
    columns: Mapping[str, npt.NDArray[Any]],
    faults: Sequence[RuleViolation],
    value: Callable[[int, str], Any],
    place: Callable[[int, str], str],
    ignored: Callable[[int], Sequence[str]],
    tell: Callable[[RuleCounts], None] | None,
) -> None:
    """Refuses rows that break the rules, including those of derived features.

    Args:
        rules: of the Model.
        columns: typed columns, by input.
        faults: faults of the inputs.
        value: returns the received value of a row and an input.
        place: returns the place of a row and an input in the request.
        ignored: fields of a row that the model does not read.
        tell: called with the counts of rows that broke a rule, if there are any.

    Raises:
        RowsRefused: rows break a rule that refuses them.
    """
    more, derived = rules.derived_faults(columns)
    if not faults and not more:
        return
    ordered = sorted([*faults, *more], key=lambda fault: rules.position(fault.column))
    rows = len(next(iter(columns.values())))
    bad = np.zeros(rows, np.bool_)
    for fault in ordered:
        if fault.refuses:
            bad |= fault.rows
    if tell is not None:
        tell(RuleCounts.of(ordered, ~bad))
    refused = np.flatnonzero(bad).tolist()
    if not refused:
        return

    def received(row: int, name: str) -> Any:
        return derived[name][row : row + 1].tolist()[0] if name in derived else value(row, name)

    def faults_at(row: int) -> list[quarantine.Fault]:
        return [
            quarantine.Fault(fault.column, fault.reason, fault.message(shown(received(row, str(fault.column)))))
            for fault in ordered
            if fault.refuses and fault.rows[row]
        ]

    by_row = {row: faults_at(row) for row in refused[:LISTED_ROWS]}
    first = refused[0]
    first_fault = by_row[first][0]
    if len(refused) == 1:
        raise RowsRefused(
            first_fault.message,
            by_row,
            1,
            where=place(first, str(first_fault.column)),
            fix=_hint(first_fault, ignored(first)),
        )
    named = [f"{place(row, str(by_row[row][0].column))}: {by_row[row][0].message}" for row in refused[:_NAMED_ROWS]]
    if len(refused) > _NAMED_ROWS:
        named.append(f"and {len(refused) - _NAMED_ROWS} more")
    raise RowsRefused(
        f"{len(refused)} of {rows} rows break the rules of the model",
        by_row,
        len(refused),
        received="; ".join(named),
        fix=_hint(first_fault, ignored(first)),
    )


def _hint(fault: quarantine.Fault, ignored: Sequence[str]) -> str | None:
    """A suggestion for a field that the model does not read."""
    if fault.reason != "missing_value":
        return None
    close = difflib.get_close_matches(str(fault.column), [name for name in ignored[:_COMPARED] if len(name) <= 80], n=1)
    return f'The field "{close[0]}" is ignored: perhaps {fault.column} is meant' if close else None
