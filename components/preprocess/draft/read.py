"""First rows of a table as one Arrow table, from any file format, and the diagnosis of tables that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

import pyarrow as pa

from headrace.components.preprocess.check import separator_hint
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.rules.fault import listed
from headrace.core.sources.csv.reader import CsvSource
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open import list_parts, list_paths, read_part, source_of
from headrace.core.text import counted
from headrace.core.values.columns import as_text, is_bytes, texts

_BATCH_ROWS = 8192
# Above this fraction of malformed rows, the file probably has another dialect.
_REFUSED = 0.05
# Minimum number of rows: with fewer rows, a split is often empty.
MINIMUM_ROWS = 10
_FRACTION = re.compile(r"\s*[+-]?[0-9]*\.[0-9]+\s*\Z")
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*\Z")


@dataclass(frozen=True)
class FirstRows:
    """The first rows of all files.

    Attributes:
        table: the columns that all files have, each of one type.
        complete: whether the table has no further rows.
        unusable: by name of each other column, the reason why it cannot be read.
        ends: name of each file in order, and the number of rows up to its end.
    """

    table: pa.Table
    complete: bool
    unusable: Mapping[str, str]
    ends: tuple[tuple[str, int], ...]

    def place(self, row: int) -> str:
        """The position of a row of the table, by its index: "row 3 of a.csv"."""
        start = 0
        for file, end in self.ends:
            if row < end:
                return f"row {row - start + 1:,} of {file}"
            start = end
        raise IndexError(row)


def first_rows(data: str, limit: int, csv: CsvDialect = RFC_4180) -> FirstRows:
    """Reads at most the first `limit` rows of all files.

    Raises:
        DataError: there are no rows, the header is not valid, or most lines do not fit it.
        UnreadableFile: all files are damaged.
    """
    names, unusable, unreadable = _columns(data, csv)
    batches: list[pa.RecordBatch] = []
    refused: list[QuarantinedRow] = []
    ends: list[tuple[str, int]] = []
    count = 0
    complete = True
    for part in list_parts(data, csv=csv):
        if part.path in unreadable:
            continue
        for rows in read_part(part, names, _BATCH_ROWS):
            refused.extend(rows.refused)
            batches.append(rows.batch.slice(0, limit - count))
            complete = count + rows.batch.num_rows <= limit
            count += batches[-1].num_rows
            if not complete:
                break
        ends.append((part.name, count))
        if not complete:
            break
    if len(refused) > _REFUSED * (count + len(refused)):
        raise _no_rows(data, refused, count)
    if 0 < count < MINIMUM_ROWS and complete:
        raise DataError(
            "there are too few rows to train, evaluate and test a model",
            where=data,
            expected=f"{MINIMUM_ROWS} rows or more",
            received=f"{count:,}",
        )
    if not count:
        raise DataError(
            "the data has no rows", where=data, expected="one row or more below the header", received="none"
        )
    _check_blanks(data, names, batches[0])
    columns: dict[str, pa.ChunkedArray] = {}
    for place, name in enumerate(names):
        pieces = [batch.column(place) for batch in batches]
        if any(is_bytes(piece.type) and texts(piece)[1].any() for piece in pieces):
            unusable[name] = "it holds bytes that are not UTF-8 text"
        else:
            columns[name] = _one_type(pieces)
    return FirstRows(pa.table(columns), complete, unusable, tuple(ends))


def _columns(data: str, csv: CsvDialect) -> tuple[list[str], dict[str, str], set[str]]:
    """The readable columns, the reasons why other columns are not readable, and the damaged files."""
    names: dict[str, None] = {}
    unusable: dict[str, str] = {}
    unreadable: dict[str, UnreadableFile] = {}
    every: dict[str, set[str]] = {}
    for path in list_paths(data):
        try:
            source = source_of(path, csv)
            columns = source.columns(path)
        except UnreadableFile as error:
            unreadable[path] = error
            continue
        found = [name for name, _ in columns]
        _check_header(path, found, written=isinstance(source, CsvSource) and not csv.header)
        every[path] = set(found)
        names.update(dict.fromkeys(found))
        for name, kind in columns:
            if found.count(name) > 1:
                unusable[name] = f"{found.count(name)} columns have this name"
            elif pa.types.is_nested(kind):
                unusable[name] = f"its values have the type {kind}, with several values per row"
    if not every:
        raise next(iter(unreadable.values()))
    for path, held in every.items():
        for name in names:
            if name not in held:
                unusable.setdefault(name, f"{PurePath(path).name} does not have it")
    usable = [name for name in names if name not in unusable]
    if not usable:
        raise DataError(
            "no column can be read",
            where=data,
            expected="columns of single values with unique names, in all files",
            received="; ".join(f'"{name}": {why}' for name, why in list(unusable.items())[:3]),
        )
    return usable, unusable, set(unreadable)


def _check_header(path: str, names: Sequence[str], *, written: bool) -> None:
    """Checks that names are names; `written` ones are the first line of a file, which may be a row of it."""
    hint = separator_hint(names)
    if hint:
        raise DataError(
            "the header is one column", where=path, expected="a name for each field", received=names[0][:80], fix=hint
        )
    fractions = sum(bool(_FRACTION.match(name)) for name in names)
    if (fractions and 2 * fractions >= len(names)) or (written and _is_row(names)):
        raise DataError(
            "the first line is not a header",
            where=path,
            expected="the columns' names",
            received=listed(names),
            fix=f"Set the names of the {counted(len(names), 'column')}: --csv header=NAME,NAME,...",
        )


def _is_row(names: Sequence[str]) -> bool:
    """Whether all names are numbers, other than numbers of columns or years: ascending whole numbers."""
    if not all(_WHOLE.match(name) or _FRACTION.match(name) for name in names):
        return False
    numbers = [float(name) for name in names]
    ascending = all(first < second for first, second in pairwise(numbers))
    return not ascending or any(_FRACTION.match(name) for name in names)


def _check_blanks(data: str, names: Sequence[str], rows: pa.RecordBatch) -> None:
    """Checks that a single column is not several columns separated by blanks."""
    words = len(names[0].split())
    if len(names) > 1 or words == 1 or not pa.types.is_string(rows.schema.field(0).type):
        return
    values = rows.column(0).drop_null().slice(0, 100).to_pylist()
    if values and all(len(value.split()) == words for value in values):
        raise DataError(
            "the header is one column",
            where=data,
            expected="a name for each field",
            received=names[0][:80],
            fix="The fields seem to be separated by blanks: use --csv delimiter=space, or write commas",
        )


def _no_rows(data: str, refused: Sequence[QuarantinedRow], rows: int) -> DataError:
    first = refused[0]
    return DataError(
        f"{len(refused):,} of {counted(len(refused) + rows, 'line')} are not rows",
        where=data,
        expected="one JSON object per line"
        if first.fault.reason == "malformed_row"
        else "as many fields in each row as in the header",
        received=f"{first.file}, row {first.row}: {first.fault.message}",
        fix=None
        if first.fault.reason == "malformed_row"
        else "If the first line is not a header, name all columns: --csv skip_rows=1 --csv header=NAME,NAME,...; if "
        "the fields are not separated by commas: --csv delimiter=",
    )


def _one_type(pieces: Sequence[pa.Array]) -> pa.ChunkedArray:
    """The values of all files and batches in one type: numbers if all are numbers, else text."""
    kinds = list(dict.fromkeys(piece.type for piece in pieces if not pa.types.is_null(piece.type)))
    if len(kinds) > 1:
        if all(pa.types.is_integer(kind) and kind != pa.uint64() for kind in kinds):
            kinds = [pa.int64()]
        elif all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
            kinds = [pa.float64()]
        else:
            pieces = [piece if pa.types.is_null(piece.type) else as_text(piece) for piece in pieces]
            kinds = [pa.string()]
    kind = kinds[0] if kinds else pa.null()
    return pa.chunked_array([piece.cast(kind, safe=False) for piece in pieces], kind)
