"""Corrections: rows that replace quarantined ones, and their removal from the quarantine."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, SourceFile
from headrace.core.artifacts.quarantine import ORIGIN, QuarantinedRow, read_rows, to_lines
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open import list_parts, read_part, source_of


def origins(data: str, batch_rows: int, csv: CsvDialect = RFC_4180) -> dict[str, str]:
    """The quarantined rows that the data replaces, by id, with the file of each replacement."""
    found: dict[str, str] = {}
    for part in list_parts(data, csv=csv):
        if ORIGIN in {name for name, _ in source_of(part.path, csv).columns(part.path)}:
            for rows in read_part(part, [ORIGIN], batch_rows):
                found.update(
                    (str(origin), part.name) for origin in rows.batch.column(0).to_pylist() if origin is not None
                )
    return found


def take_out(folder: Path, base: Manifest, named: dict[str, str]) -> tuple[list[str], Counter[str], Counter[str]]:
    """Removes rows from the quarantine; returns the remaining files, and the removed rows by reason and by new file."""
    left = dict(named)
    files: list[str] = []
    removed: Counter[str] = Counter()
    corrected: Counter[str] = Counter()
    for file in base.quarantine.files:
        held: list[QuarantinedRow] = []
        count = 0
        for row in read_rows(str(folder / file)):
            count += 1
            # Each id is removed once, so that two equal lines are two rows.
            by = left.pop(row.id, None)
            if by is None:
                held.append(row)
            else:
                removed[row.fault.reason] += 1
                corrected[by] += 1
        if held:
            files.append(file)
        if not held:
            (folder / file).unlink()
        elif len(held) < count:
            storage.write_bytes(str(folder / file), to_lines(held))
    return files, removed, corrected


def new_rows(sources: Iterable[SourceFile], corrected: Counter[str]) -> list[SourceFile]:
    """The files with their number of rows that were not counted before."""
    left = Counter(corrected)
    found = []
    for source in sources:
        known = min(left[source.file], source.rows)
        left[source.file] -= known
        found.append(dataclasses.replace(source, rows=source.rows - known))
    return found
