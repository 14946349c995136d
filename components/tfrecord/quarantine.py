"""Rows that broke a rule: why, where they came from, and what they held, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from headrace.components import storage
from headrace.components.errors import DataError

Reason = Literal[
    "missing_value",
    "not_a_number",
    "out_of_range",
    "unknown_value",
    "missing_key",
    "duplicate_key",
    "too_few_fields",
    "too_many_fields",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Fault:
    """One rule that a row broke.

    Attributes:
        column: the column at fault, or None where it is the row as a whole.
        reason: one of REASONS.
        message: what was expected and what came, for a reader.
    """

    column: str | None
    reason: Reason
    message: str

    def to_json(self) -> dict[str, Any]:
        """Column, reason and message."""
        return {"column": self.column, "reason": self.reason, "message": self.message}


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that broke one rule or more.

    Attributes:
        file: name of the file it stood in, without folders.
        row: its place among the file's data rows, from 1; the header and blank lines do not count.
        fault: the first rule it broke, in the order key, label, features.
        values: what it held, as read: text from CSV, JSON values from Parquet.
        also: the other rules it broke.
    """

    file: str
    row: int
    fault: Fault
    values: Mapping[str, Any]
    also: tuple[Fault, ...] = field(default=())

    def to_line(self) -> str:
        """The row as one line of JSON, without its line break."""
        plain = {"file": self.file, "row": self.row, **self.fault.to_json(), "values": dict(self.values)}
        if self.also:
            plain["also"] = [fault.to_json() for fault in self.also]
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def to_lines(rows: Iterable[QuarantinedRow]) -> bytes:
    """Rows as JSON lines, in UTF-8; a lone surrogate is escaped, so any text can be written."""
    return "".join(f"{row.to_line()}\n" for row in rows).encode("utf-8", "backslashreplace")


def read_rows(uri: str) -> Iterator[QuarantinedRow]:
    """The rows of a quarantine file.

    Raises:
        DataError: there is no such file, or a line of it is not a quarantined row.
    """
    try:
        # Only the line feed ends a line: text may hold the other characters that str.splitlines breaks at.
        lines = storage.read_bytes(uri).decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the quarantine file cannot be read", where=uri, received=str(error)) from error
    for number, line in enumerate(lines, 1):
        try:
            plain = json.loads(line)
            fault, *also = (_fault(entry) for entry in [plain, *plain.get("also", [])])
            yield QuarantinedRow(plain["file"], plain["row"], fault, plain["values"], tuple(also))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError("it is not a quarantined row", where=f"{uri}, line {number}", received=line) from error


def _fault(plain: Mapping[str, Any]) -> Fault:
    if plain["reason"] not in REASONS:
        raise ValueError(plain["reason"])
    return Fault(plain["column"], plain["reason"], plain["message"])
