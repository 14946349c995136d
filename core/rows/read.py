"""Row reader: renames a table's columns to the names that a Problem declares, which may differ from the table's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import pyarrow as pa

from headrace.core.errors import EmptyFile
from headrace.core.problem import Problem
from headrace.core.rows.prepare import prepared, prepared_columns
from headrace.core.sources.open import read_part, source_of
from headrace.core.sources.source import Part, Rows


def wanted_columns(problem: Problem) -> list[str]:
    """The columns of the table that a Problem reads, each once: key, label, features, inputs of derived
    columns, and the column that decides the split."""
    return list(dict.fromkeys(_sources(problem).values()))


def read_rows(problem: Problem, part: Part, batch_rows: int) -> Iterator[Rows]:
    """The rows of a part, in batches of at most `batch_rows`; columns are named as by `as_declared`.

    Raises the errors of `read_part`.
    """
    for rows in read_part(part, table_columns(problem, part), batch_rows):
        yield as_declared(problem, prepared(rows))


def table_columns(problem: Problem, part: Part) -> list[str]:
    """The columns of a part to read: all of `wanted_columns`, or with a prepare function its inputs and those present.

    Raises:
        DataError: an input column of the prepare function is missing, or the file is damaged.
    """
    wanted = wanted_columns(problem)
    if part.prepare is None:
        return wanted
    asked = list(dict.fromkeys([*part.prepare.reads, *wanted]))
    try:
        available = [name for name, _ in source_of(part.path, part.csv).columns(part.path, asked)]
    except EmptyFile:
        # No row of it will be read.
        return asked
    return prepared_columns(part.prepare.reads, wanted, available, part.path)


def read_column(problem: Problem, part: Part, column: str, batch_rows: int) -> Iterator[Rows]:
    """The rows of a part with only one of `wanted_columns`.

    Raises the errors of `read_part`.
    """
    if part.prepare is None:
        yield from read_part(part, [column], batch_rows)
        return
    for rows in read_part(part, table_columns(problem, part), batch_rows):
        made = prepared(rows)
        yield dataclasses.replace(made, batch=made.batch.select([column]))


def as_declared(problem: Problem, rows: Rows) -> Rows:
    """Renames the columns of `problem.derivation.read` to their names in the Problem.

    The key keeps its name in the table, which is unique: its name in Examples may be the name of another column.
    """
    sources = _sources(problem)
    if all(name == source for name, source in sources.items()):
        return rows
    return _selected(rows, sources)


def as_in_table(problem: Problem, rows: Rows) -> Rows:
    """Renames the columns of `table_columns` to their names in the table, as quarantine holds them."""
    if rows.unprepared is not None:
        return dataclasses.replace(rows, batch=rows.unprepared)
    return _selected(rows, {source: name for name, source in _sources(problem).items()})


def _sources(problem: Problem) -> dict[str, str]:
    """The table's column for each column that is read, by its name in the Problem."""
    key = {} if problem.key is None else {problem.key: problem.key}
    read = key | {column.name: column.source_column for column in problem.derivation.read}
    column = problem.splits.column
    return read if column is None or column in read or column in problem.derive else read | {column: column}


def split_column(problem: Problem) -> str | None:
    """The column of the table that decides the split of each row; None where the key, the file or a derived column
    does."""
    return None if problem.splits.column is None else _sources(problem).get(problem.splits.column)


def _selected(rows: Rows, columns: Mapping[str, str]) -> Rows:
    arrays = [rows.batch.column(column) for column in columns.values()]
    return dataclasses.replace(rows, batch=pa.RecordBatch.from_arrays(arrays, names=list(columns)))
