"""Data check before preprocessing: fast, without Beam, with one clear paragraph per error."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from headrace.core.artifacts.budget import check_damaged_files
from headrace.core.errors import DataError, EmptyFile, NothingToDo, UnreadableFile
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.prepare import Prepare, prepared
from headrace.core.rows.read import split_column, table_columns, wanted_columns
from headrace.core.rows.split_rule import check_files as check_split_files
from headrace.core.rows.validate import category_texts, not_numbers
from headrace.core.rules.fault import listed
from headrace.core.sources.csv.numbers import reading_option
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open import list_paths, read_part, source_of, states_columns
from headrace.core.sources.source import Part, Rows
from headrace.core.values.columns import blank, is_text
from headrace.core.values.missing import LOOKS_MISSING, declaration

# Fraction of wrong values in the first rows above which the whole column has the wrong type.
_WRONG_SHARE = 0.9
_MARKED_SHARE = 0.01
_SAMPLE_ROWS = 1000
# Text may hold numbers, which only the rows show.
_NUMBER_KINDS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_null,
    is_text,
)


def check_data(problem: Problem, data: str, csv: CsvDialect = RFC_4180, prepare: Prepare | None = None) -> list[str]:
    """Checks that the data fits the Problem: files, columns, types, and the first rows of each.

    Args:
        problem: declares the columns.
        data: a file, a folder, a glob, a table or a query.
        csv: dialect of CSV files.
        prepare: the prepare function, or None.

    Returns:
        The files, in the order in which they are read. If there are several, damaged ones go to quarantine.

    Raises the errors of `look`.
    """
    return look(problem, data, csv, prepare)[0]


def look(
    problem: Problem, data: str, csv: CsvDialect = RFC_4180, prepare: Prepare | None = None
) -> tuple[list[str], dict[str, UnreadableFile]]:
    """The files, as `check_data` returns them, and the errors of those that the first rows show to be damaged.

    Raises:
        NothingToDo: there are no rows, and the Problem skips such runs.
        DataError: a file does not exist, all files are empty, the encoding is wrong, there are no rows, a column is
            missing, repeated or of the wrong type, or more files are damaged than the budget allows.
    """
    wanted = wanted_columns(problem)
    paths = list_paths(data)
    check_split_files(problem, data, paths)
    rows = 0
    lacking: dict[str, DataError] = {}
    met: set[str] = set()
    unreadable: dict[str, UnreadableFile] = {}
    empty: list[EmptyFile] = []
    for path in paths:
        try:
            if prepare is not None:
                for first in _prepared(problem, Part(0, path, csv=csv, prepare=prepare)):
                    rows += first.count
                continue
            columns = source_of(path, csv).columns(path, wanted)
            met.update(name for name, _ in columns)
            late = _may_lack(problem, path, columns)
            lacking.update((name, _missing(problem, path, columns)) for name in late if name not in lacking)
            _check_columns(problem, path, columns, late)
            for first in islice(read_part(Part(0, path, csv=csv), wanted, _SAMPLE_ROWS), 1):
                rows += first.count
                _check_values(problem, path, first.batch)
        except UnreadableFile as error:
            unreadable[path] = error
        except EmptyFile as error:
            empty.append(error)
    check_files(problem, data, len(paths), list(unreadable.values()))
    for name, missing in lacking.items():
        if name not in met:
            raise missing
    if not rows and unreadable:
        raise next(iter(unreadable.values()))
    if not rows and problem.no_rows == "skip":
        raise nothing_to_do(data)
    if not rows and len(empty) == len(paths) == 1:
        raise empty[0]
    if not rows:
        raise DataError(
            "the data has no rows", where=data, expected="one row or more below the header", received="none"
        )
    return paths, unreadable


def _prepared(problem: Problem, part: Part) -> Iterator[Rows]:
    """The first rows of a part after the prepare function, checked against the Problem."""
    for read in islice(read_part(part, table_columns(problem, part), _SAMPLE_ROWS), 1):
        made = prepared(read)
        columns = [(field.name, field.type) for field in made.batch.schema]
        _check_columns(problem, f"{part.path}, prepared", columns, ())
        _check_values(problem, f"{part.path}, prepared", made.batch)
        if isinstance(part.prepare, Prepare):
            part.prepare.check_rows(read)
        yield read


def nothing_to_do(data: str) -> NothingToDo:
    """The error, or the end, of a run whose data has no rows."""
    return NothingToDo(
        "nothing to do: the data has no rows",
        where=data,
        fix='no_rows="refuse" in the Problem file makes this an error',
    )


def check_files(problem: Problem, data: str, files: int, unreadable: Sequence[DataError]) -> None:
    """Checks the number of damaged files, which are quarantined as a whole, against the quarantine budget.

    Args:
        problem: has the budget.
        data: the data, for the message.
        files: number of files.
        unreadable: the errors of the damaged files.

    Raises:
        DataError: too many files are damaged; if the only file is damaged, its error.
    """
    check_damaged_files(
        unreadable,
        files,
        problem.quarantine_budget,
        where=data,
        raise_it="raise quarantine_budget in the Problem file",
    )


def _may_lack(problem: Problem, path: str, columns: Sequence[tuple[str, pa.DataType]]) -> list[str]:
    """The optional columns that a file without a schema lacks: rows of other files may have values there."""
    names = {name for name, _ in columns}
    if states_columns(path) or not names:
        return []
    optional = dict.fromkeys(column.source_column for column in problem.derivation.read if column.optional)
    return [name for name in optional if name not in names]


def _check_columns(
    problem: Problem, path: str, columns: Sequence[tuple[str, pa.DataType]], late: Collection[str]
) -> None:
    names = [name for name, _ in columns]
    kinds = dict(columns) | dict.fromkeys(late, pa.null())
    wanted = wanted_columns(problem)
    if any(name not in kinds for name in wanted):
        raise _missing(problem, path, columns)
    for name in wanted:
        if names.count(name) > 1:
            raise DataError(
                f'there are {names.count(name)} columns named "{name}"', where=path, expected="each column once"
            )
    for declared in problem.derivation.read:
        kind = kinds[declared.source_column]
        if isinstance(declared, Numeric) and not _can_be_number(kind):
            raise _wrong_type(declared.source_column, path, "numbers", f"the type {kind}")
    for name in wanted:
        if not _can_be_text(kinds[name]):
            raise _wrong_type(name, path, "one value a row", f"the type {kinds[name]}")


def _check_values(problem: Problem, path: str, batch: pa.RecordBatch) -> None:
    for declared in problem.derivation.read:
        column = blank(batch.column(declared.source_column), problem.missing)
        if isinstance(declared, Numeric):
            wrong, present = not_numbers(column)
            if not wrong.any():
                continue
            examples = column.filter(pa.array(wrong))
            words = LOOKS_MISSING.intersection(map(str, examples.to_pylist()))
            options = list(filter(None, (reading_option(str(value)) for value in examples.to_pylist())))
            # Numbers with marks, such as those above 999, would be missing as a group: what is left would be biased.
            option = f"Give {options[0]}" if len(options) >= max(2, _MARKED_SHARE * present) else None
            if words and not option and wrong.sum() >= _WRONG_SHARE * present:
                option = f"Declare {declaration(words)} in the Problem file"
            if wrong.sum() >= _WRONG_SHARE * present or option:
                raise _wrong_type(declared.source_column, path, "numbers", _examples(examples), option)
        elif declared.vocabulary is not None:
            _check_vocabulary(declared, path, column)


def _check_vocabulary(declared: Categorical, path: str, column: pa.Array) -> None:
    text = category_texts(declared, column)[0].drop_null()
    known = set(declared.vocabulary or ())
    if len(text) and not known.intersection(text.to_pylist()):
        raise DataError(
            f'no value of the column "{declared.source_column}" is in its vocabulary',
            where=path,
            expected=listed(declared.vocabulary or ()),
            received=_examples(text),
            fix="Correct the vocabulary in the Problem file, or the column",
        )


def _missing(problem: Problem, path: str, columns: Sequence[tuple[str, pa.DataType]]) -> DataError:
    names, kinds = [name for name, _ in columns], dict(columns)
    roles = {column.source_column: role for column, role in zip(problem.targets, ("label", "weight"), strict=False)}
    if problem.key is not None:
        roles[problem.key] = "key"
    declared = {c.source_column: _asked(c) for c in problem.derivation.read}
    if (decides := split_column(problem)) is not None and decides not in (declared.keys() | {problem.key}):
        roles[decides] = "column to split by"
        declared[decides] = "times" if problem.splits.time else "groups"
    asked = [*([] if problem.key is None else [(problem.key, "text")]), *declared.items()]
    gone = [name for name, _ in asked if name not in kinds]
    name, role = gone[0], roles.get(gone[0], "feature")
    # A column that is already in use is not the intended one.
    by_case = {other.strip().lower(): other for other in names if other not in wanted_columns(problem)}
    close = difflib.get_close_matches(name.lower(), by_case, n=1)
    fix = f'Perhaps the column "{by_case[close[0]]}" is meant' if close else None
    fix = separator_hint(names) or fix
    which = "" if role == "feature" else f", which is the {role},"
    what = f'the column "{name}"{which} does not exist'
    return DataError(
        what + (f", and {len(gone) - 1} more {'are' if len(gone) > 2 else 'is'} gone" if len(gone) > 1 else ""),
        where=path,
        expected=f'the {role} "{name}" among the columns',
        received=", ".join(names),
        fix=fix,
        table=[
            ["column", "role", "seen", "expected", ""],
            *(
                [
                    column,
                    roles.get(column, "feature"),
                    str(kinds[column]) if column in kinds else "no column",
                    expected,
                    "ok" if column in kinds else "missing",
                ]
                for column, expected in asked
            ),
        ],
    )


def separator_hint(names: Sequence[str]) -> str | None:
    """The option that separates the fields of a file whose header looks like one column; None for other headers."""
    if len(names) == 1:
        for separator, spelled in ((";", "';'"), ("\t", "tab"), ("|", "'|'")):
            if separator in names[0]:
                return f"The fields seem to be separated by {separator!r}: give --csv delimiter={spelled}"
    return None


def _asked(declared: Numeric | Categorical) -> str:
    """The type of a column's values, in one word."""
    return "numbers" if isinstance(declared, Numeric) else "text"


def _wrong_type(name: str, path: str, expected: str, received: str, fix: str | None = None) -> DataError:
    return DataError(
        f'the column "{name}" is of the wrong type',
        where=path,
        expected=expected,
        received=received,
        fix=fix or "Correct the column, or declare it otherwise in the Problem file",
    )


def _can_be_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _can_be_number(kind.value_type)
    return any(is_kind(kind) for is_kind in _NUMBER_KINDS)


def _can_be_text(kind: pa.DataType) -> bool:
    nested: bool = pa.types.is_nested(kind)
    return not nested


def _examples(column: pa.Array) -> str:
    # Arrow finds the distinct values of no mixed column.
    distinct = list(dict.fromkeys(column.to_pylist()))
    shown = ", ".join(f'"{value}"' for value in distinct[:3])
    return f"{shown} and others" if len(distinct) > 3 else shown
