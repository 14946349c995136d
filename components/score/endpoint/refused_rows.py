"""Refused rows: those of a request that our server refused for a rule of its Model, as its response lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.core.artifacts.quarantine import REASONS, Fault
from headrace.core.errors import UsageError

FaultsByRow = Mapping[int, tuple[Fault, ...]]


class RefusedRows(Exception):
    """A server refused rows for what they hold; `serve` lists them in `RowsRefused.to_response`.

    Args:
        rows: the faults of each, by its index in the request.
    """

    def __init__(self, rows: FaultsByRow) -> None:
        super().__init__("the endpoint refused rows")
        self.rows = rows

    @property
    def by_mode(self) -> bool:
        """Whether a server that only warns would have answered one of the rows."""
        return any(fault.reason in ("out_of_range", "unknown_value") for of in self.rows.values() for fault in of)

    def moved(self, by: int) -> RefusedRows:
        """The same rows where the request begins at `by`."""
        return RefusedRows({row + by: faults for row, faults in self.rows.items()})

    def among(self, rows: int) -> RefusedRows:
        """Without rows beyond the first `rows`, which are copies of the last one."""
        return RefusedRows({row: faults for row, faults in self.rows.items() if row < rows})


def enforced(where: str) -> UsageError:
    """The error for rules that are only to warn, where the server enforces them."""
    return UsageError(
        "the server enforces the rules of its Model, and --rules warn does not reach it",
        where=where,
        expected="a server that warns",
        received="one that enforces",
        fix="Deploy the Model with --rules warn (rules in the platform's options), or score without --rules warn",
    )


def rows_of(content: bytes) -> FaultsByRow | None:
    """The refused rows that a response lists; None where it does not list them as our server does."""
    try:
        entries = json.loads(content)["refused"]
        found: dict[int, tuple[Fault, ...]] = {}
        for entry in entries:
            row = entry["row"]
            if type(row) is not int or row < 0:
                return None
            found[row] = (*found.get(row, ()), _fault(entry))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found or None


def _fault(entry: Mapping[str, Any]) -> Fault:
    if entry["reason"] not in REASONS:
        raise ValueError(entry["reason"])
    return Fault(None if entry["column"] is None else str(entry["column"]), entry["reason"], str(entry["message"]))
