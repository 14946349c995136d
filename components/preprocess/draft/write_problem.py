"""Draft of a Problem file from a table, with the observations and choices as comments; it can run without an edit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa

from headrace.components.preprocess.draft import probe
from headrace.components.preprocess.draft.choose import (
    KEY_NOTE,
    UNIQUE_NOTE,
    choose_key,
    choose_label,
    key_candidates,
    label_candidates,
)
from headrace.components.preprocess.draft.few_rows import fitting_splits
from headrace.components.preprocess.draft.infer import InferredColumn, infer, missing_texts, quoted
from headrace.components.preprocess.draft.read import FirstRows, first_rows
from headrace.components.preprocess.draft.source_text import SourceText
from headrace.components.preprocess.draft.split_advice import time_columns
from headrace.components.preprocess.draft.time_features import UNREADABLE_NOTE, TimeFeatures, is_readable
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.values.columns import as_text, blank
from headrace.core.values.numbers import parse_numbers


@dataclass(frozen=True)
class FirstProblem:
    """A drafted Problem file and its choices.

    Attributes:
        source: the text of the file.
        key: the key's column, or None.
        label: the label's name in the file.
        rows: number of rows read.
        complete: whether the table has no further rows.
        suspects: features that are commented out, because each predicts the label almost perfectly.
    """

    source: str
    key: str | None
    label: str
    rows: int
    complete: bool
    suspects: tuple[str, ...]


def draft(
    data: str,
    *,
    label: str = "",
    key: str = "",
    name: str = "",
    rows: int = 100_000,
    csv: CsvDialect = RFC_4180,
) -> FirstProblem:
    """Reads the first rows of a table, and writes a Problem that fits them.

    Args:
        data: a file, a folder or a glob.
        label: the column to predict; chosen by its name and position if "".
        key: the column that identifies a row; if "", a column with such a name or a unique text in every row, or none:
            rows are then numbered by their content.
        name: the problem's name; from the file's name if "".
        rows: maximum number of rows to read.
        csv: the dialect of CSV files.

    Raises:
        DataError: there are no rows, the header is not valid, or no column can be the label or a feature.
        UsageError: a requested column does not exist, or cannot be the key or the label.
    """
    read = first_rows(data, rows, csv)
    missing = missing_texts(read.table.columns)
    columns = [infer(field.name, read.table.column(field.name), missing) for field in read.table.schema]
    keys = key_candidates(columns)
    the_key = choose_key(columns, keys, key, read)
    labels = label_candidates(columns, the_key)
    the_label = choose_label(columns, labels, label, the_key, data)
    others = [column for column in columns if column is not the_key and column is not the_label]
    of_time = None
    times = [] if any(column.usable for column in others) else time_columns(others, the_key, read.table)
    if times:
        of_time = TimeFeatures.of(times, read.table)
    if of_time is None and not any(column.usable for column in others):
        reasons = {} if the_key is None else {the_key.name: KEY_NOTE}
        reasons |= {column.name: column.note or UNIQUE_NOTE for column in others[:5]}
        reasons |= {column.name: UNREADABLE_NOTE for column in times if not is_readable(column.name)}
        seen = "; ".join(f"{quoted(name)}: {why}" for name, why in reasons.items()) or "no other columns"
        raise DataError(
            "no column can be a feature",
            where=data,
            expected=f'numbers or categories in addition to the label "{the_label.name}"',
            received=seen,
        )
    target = _Target.of(read, the_label, missing)
    shares = {c.name: target.explained_by(read, c, missing) for c in others if c.usable}
    suspects = {name: share for name, share in shares.items() if share >= probe.SUSPECT}
    source = SourceText(read, missing, columns, the_key, the_label, target.label, suspects, of_time)
    names = source.names
    write = partial(
        source.text, name or _problem_name(data), data, keys, labels, asked_key=bool(key), asked_label=bool(label)
    )
    text = write()
    if source.has_few_rows and of_time is None:
        problem = _loaded(text)
        fitting = fitting_splits(problem, read, data)
        text = text if fitting == problem.splits else write(splits=fitting)
    return FirstProblem(
        text,
        None if the_key is None else the_key.name,
        names[the_label.name],
        read.table.num_rows,
        read.complete,
        () if source.keeps_suspects else tuple(suspects),
    )


@dataclass(frozen=True)
class _Target:
    """The label's values, of the rows that have one."""

    label: probe.Label
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, read: FirstRows, column: InferredColumn, missing: Sequence[str]) -> _Target:
        values = _values(read, column, missing)
        if column.kind == "numeric":
            numbers, absent, wrong = parse_numbers(values)
            rows = np.flatnonzero(~absent & ~wrong)
            return cls(probe.Label(numbers[rows], classes=False), rows)
        codes = _codes(values)
        rows = np.flatnonzero(codes > 0)
        return cls(probe.Label(codes[rows].astype(np.float64), classes=True), rows)

    def explained_by(self, read: FirstRows, column: InferredColumn, missing: Sequence[str]) -> float:
        values = _values(read, column, missing)
        if column.kind == "numeric":
            numbers, absent, wrong = parse_numbers(values)
            return probe.explained(self.label, np.where(absent | wrong, np.nan, numbers)[self.rows])
        return probe.explained(self.label, _codes(values)[self.rows])


def _values(read: FirstRows, column: InferredColumn, missing: Sequence[str]) -> pa.Array:
    return blank(pa.concat_arrays(read.table.column(column.name).chunks), missing)


def _codes(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Categories as numbers from 1; 0 for missing ones."""
    coded = as_text(values).dictionary_encode()
    empty = coded.dictionary.index("").as_py()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(codes == empty, 0, codes + 1) if empty >= 0 else codes + 1


def _loaded(text: str) -> Problem:
    with tempfile.TemporaryDirectory(prefix="headrace-init-") as folder:
        path = Path(folder) / "problem.py"
        path.write_text(text, encoding="utf-8")
        return load_problem(str(path)).problem


def _problem_name(data: str) -> str:
    stem = re.sub(r"[^a-z0-9_-]+", "_", PurePath(data).name.split(".")[0].lower()).strip("_-")
    return stem[:48] if stem[:1].isalpha() else f"problem_{stem}"[:48].rstrip("_-")
