"""Quarantine files: rows that broke a rule, with reason, origin and values, one JSON object per line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.values.scalars import text_of

Reason = Literal[
    "missing_value",
    "not_a_number",
    "not_a_time",
    "out_of_range",
    "unknown_value",
    "missing_key",
    "duplicate_key",
    "duplicate_row",
    "too_few_fields",
    "too_many_fields",
    "malformed_row",
    "not_utf8",
    "file_unreadable",
    "not_finite",
    "model_failed",
    "bad_span",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


# The column of a corrected CSV with the id of the quarantined row that a row replaces.
ORIGIN = "quarantine_id"


@dataclass(frozen=True)
class Fault:
    """One rule that a row broke.

    Attributes:
        column: the invalid column, or None for the row as a whole.
        reason: one of REASONS.
        message: the expected and the received value, as a sentence.
    """

    column: str | None
    reason: Reason
    message: str

    def to_json(self) -> dict[str, Any]:
        """Column, reason and message."""
        return {"column": self.column, "reason": self.reason, "message": self.message}


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that broke at least one rule.

    Attributes:
        file: name of its source file, without folders.
        row: its number among the file's data rows, from 1; the header and blank lines do not count.
        fault: the first rule it broke, in the order key, label, features.
        values: of its columns, as read: text from CSV, JSON values from Parquet.
        also: the other rules it broke.
    """

    file: str
    row: int
    fault: Fault
    values: Mapping[str, Any]
    also: tuple[Fault, ...] = field(default=())

    @property
    def id(self) -> str:
        """Digest of the row and its faults, 16 hexadecimal digits: its value in the column ORIGIN."""
        return hashlib.sha256(self.to_line().encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def to_line(self) -> str:
        """The row as one line of JSON, without its line break."""
        plain = {"file": self.file, "row": self.row, **self.fault.to_json(), "values": dict(self.values)}
        if self.also:
            plain["also"] = [fault.to_json() for fault in self.also]
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def to_lines(rows: Iterable[QuarantinedRow]) -> bytes:
    """Rows as JSON lines, in UTF-8; a lone surrogate is escaped, so any text can be written."""
    return "".join(f"{row.to_line()}\n" for row in rows).encode("utf-8", "backslashreplace")


def to_csv(rows: Iterable[QuarantinedRow]) -> bytes:
    """Rows as CSV to correct: their values as they were read, then their id, reason and message.

    `headrace preprocess --append` reads it back, and replaces the quarantined row that each id names.
    """
    held = list(rows)
    names = list(dict.fromkeys(name for row in held for name in row.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, ORIGIN, "quarantine_reason", "quarantine_message"])
    for row in held:
        values = [_csv_field(row.values.get(name)) for name in names]
        faults = [row.fault, *row.also]
        reasons, messages = (separator.join(texts) for separator, texts in (
            (" ", [fault.reason for fault in faults]),
            ("; ", [fault.message for fault in faults]),
        ))  # fmt: skip
        writer.writerow([*values, row.id, reasons, messages])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    # Nested values have no text of their own, and no command reads one back from CSV.
    return json.dumps(value) if isinstance(value, list | dict) else text_of(value)


def read_rows(uri: str) -> Iterator[QuarantinedRow]:
    """Reads the rows of a quarantine file.

    Raises:
        DataError: the file does not exist, or a line is not a quarantined row.
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
            raise DataError(
                "the line is not a quarantined row", where=f"{uri}, line {number}", received=line
            ) from error


def _fault(plain: Mapping[str, Any]) -> Fault:
    if plain["reason"] not in REASONS:
        raise ValueError(plain["reason"])
    return Fault(plain["column"], plain["reason"], plain["message"])
