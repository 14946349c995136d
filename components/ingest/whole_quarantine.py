"""Quarantine of a whole span: all readable rows. Rows that break a rule have their own faults."""

from __future__ import annotations

import json
from collections.abc import Iterator

from headrace.core import storage
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.artifacts.set_aside import outputs_of, set_aside
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.rows.read import wanted_columns
from headrace.core.rows.validate import quarantine
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.sources.source import Part

_BATCH_ROWS = 8192


def quarantine_span(problem: Problem, data: str, csv: CsvDialect, span: str, error: DataError) -> int:
    """Writes all rows of a span to its quarantine, atomically.

    Files that cannot be read are left out.

    Args:
        problem: names the columns to store; the data may lack some.
        data: URI, path or glob of the rows.
        csv: dialect of CSV files.
        span: URI of the span's Examples, which exist if it was preprocessed. The quarantine is written next to them, as
            of `set_aside`. An existing one contains the rows that break a rule, and is replaced.
        error: the reason for the quarantine. It is the fault of every row that breaks no rule.

    Returns:
        Number of rows in the quarantine.
    """
    counted = 0

    def lines() -> Iterator[bytes]:
        nonlocal counted
        for line in _with_own_faults(_rows(problem, data, csv, Fault(None, "bad_span", error.what)), _faulty(span)):
            counted += 1
            yield line

    set_aside(span, lines())
    return counted


def _faulty(span: str) -> Iterator[bytes]:
    """The quarantine lines of the rows that break a rule, in the order of files and rows."""
    place = span if is_there("Examples", span) else outputs_of(span).get("quarantined", "")
    for file in quarantine_files(place) if place else ():
        with storage.open_input(file) as found:
            yield from found


def _with_own_faults(rows: Iterator[QuarantinedRow], faulty: Iterator[bytes]) -> Iterator[bytes]:
    """All rows as lines. Both inputs have the same order, so only one row of each is in memory."""
    line = next(faulty, None)
    at = None if line is None else _position(line)
    for row in rows:
        if line is not None and at == (row.file, row.row):
            yield line
            line = next(faulty, None)
            at = None if line is None else _position(line)
        else:
            yield to_lines([row])


def _position(line: bytes) -> tuple[str, int]:
    plain = json.loads(line)
    return plain["file"], plain["row"]


def _rows(problem: Problem, data: str, csv: CsvDialect, fault: Fault) -> Iterator[QuarantinedRow]:
    try:
        parts = list_parts(data, csv=csv)
    except DataError:
        return
    wanted = list(dict.fromkeys([*problem.reads, *wanted_columns(problem)]))
    for part in parts:
        try:
            yield from _rows_of(part, wanted, fault)
        except DataError:
            # The file is damaged, or has no columns.
            continue


def _rows_of(part: Part, wanted: list[str], fault: Fault) -> Iterator[QuarantinedRow]:
    present = [name for name, _ in source_of(part.path, part.csv).columns(part.path, wanted)]
    columns = [name for name in wanted if present.count(name) == 1]
    for rows in read_part(part, columns, _BATCH_ROWS):
        refused = {row.row: row for row in rows.refused}
        indices = {number: index for index, number in enumerate(rows.numbers.tolist())}
        for number in sorted({*refused, *indices}):
            yield refused[number] if number in refused else quarantine(rows, indices[number], columns, fault)
