"""Checks rows against the Problem, column by column: what passes is typed, what does not goes to quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, Reason
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.numbering import content_fingerprint, content_texts
from headrace.core.rows.read import as_in_table
from headrace.core.rows.split_rule import Codes, by_file, by_group, by_time
from headrace.core.rows.splits import fingerprint
from headrace.core.sources.csv.numbers import reading_option
from headrace.core.sources.source import Rows
from headrace.core.values.columns import Mask, blank, is_text, json_value, respell, texts
from headrace.core.values.missing import LOOKS_MISSING, declaration
from headrace.core.values.numbers import parse_numbers
from headrace.core.values.spellings import spellings

_FLOAT32_MAXIMUM = float(np.finfo(np.float32).max)
_SHOWN = 40


@dataclass(frozen=True)
class Checked:
    """What came of a batch.

    Attributes:
        batch: the rows that passed: numbers as float32, categories and the key as strings, by the names that Examples
            have; the key first, or for a problem without one the row's content, see `numbering`.
        numbers: their numbers in the file.
        quarantined: the others, in order.
        splits: 0, 1 or 2 (train, eval, test) for each row; None where the key decides.
        seen: of the rows that passed, `rows`; for each column whose share is bounded, `missing NAME` and `unknown
            NAME`; for each whose categories are measured, `text NAME` and `typed NAME`: how its values came.
    """

    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    quarantined: tuple[QuarantinedRow, ...]
    seen: Counter[str] = field(default_factory=Counter)
    splits: Codes | None = None


@dataclass
class _Column:
    """A column on its way: its typed values, and for each rule that rows broke, which rows and what to tell them.

    `name` is what the table calls it, and `source` is its values as they came. `seen` has what is no row's fault, but
    may be one of the whole data: values that are missing or unknown.
    """

    name: str
    source: pa.Array
    values: pa.Array
    faults: list[tuple[Reason, Mask, Callable[[str], str]]] = field(default_factory=list)
    seen: dict[str, Mask] = field(default_factory=dict)

    def blame(self, reason: Reason, mask: Mask, message: Callable[[str], str]) -> None:
        if mask.any():
            self.faults.append((reason, mask, message))


def validate(problem: Problem, rows: Rows, marked: Mapping[int, Fault] | None = None) -> Checked:
    """Checks a batch against the types, ranges, vocabularies and missing values that a Problem allows.

    Args:
        problem: what is asked of each column.
        rows: at least those of `read.read_rows`, with the derived columns; see `derive.with_derived`.
        marked: faults that a look at the whole data found, by the row's number in its part; see `marks`.
    """
    checked: dict[str, _Column] = {}
    if problem.key is not None:
        checked[problem.key_name] = _check_key(problem.key, rows.batch.column(problem.key))
    # What a derived column is missing for is the fault to name first.
    for declared in (*problem.derivation.inputs, *problem.targets, *problem.columns):
        column = blank(rows.batch.column(declared.name), problem.missing)
        checked[declared.name] = (
            _check_number(declared, column) if isinstance(declared, Numeric) else _check_category(declared, column)
        )
    codes, decisive = _check_split(problem, rows)
    bad = np.zeros(rows.batch.num_rows, np.bool_)
    for result in (*checked.values(), *decisive):
        for _, mask, _ in result.faults:
            bad |= mask
    whole = {i: marked[n] for i, n in enumerate(rows.numbers.tolist()) if n in marked} if marked else {}
    bad[list(whole)] = True
    batch = pa.RecordBatch.from_arrays([result.values for result in checked.values()], names=list(checked))
    table = as_in_table(problem, rows)
    quarantined = [
        *rows.refused,
        *(_quarantine(table, [*checked.values(), *decisive], int(row), whole) for row in np.flatnonzero(bad)),
    ]
    quarantined.sort(key=lambda row: row.row)
    seen = Counter(
        {name: int((mask & ~bad).sum()) for column in checked.values() for name, mask in column.seen.items()}
    )
    seen["rows"] = int((~bad).sum())
    numbers = rows.numbers
    if bad.any():
        batch, numbers = batch.filter(pa.array(~bad)), numbers[~bad]
        codes = None if codes is None else codes[~bad]
    if problem.key is None:
        contents = content_texts(content_fingerprint(batch))
        batch = pa.RecordBatch.from_arrays([contents, *batch.columns], names=[problem.key_name, *batch.schema.names])
    if problem.splits.kind == "files":
        codes = by_file(problem.splits, rows.part.path, fingerprint(batch.column(0)))
    return Checked(batch, numbers, tuple(quarantined), seen, codes)


def quarantine(rows: Rows, row: int, columns: Sequence[str], *faults: Fault) -> QuarantinedRow:
    """The row at index `row` of a batch, with its faults and what it held in `columns`."""
    values = {name: json_value(rows.batch.column(name)[row]) for name in columns}
    return QuarantinedRow(rows.part.name, int(rows.numbers[row]), faults[0], values, tuple(faults[1:]))


def category_texts(declared: Categorical, column: pa.Array) -> tuple[pa.Array, Mask]:
    """The categories in a column, null where one is missing, and which values are bytes that are not UTF-8.

    A value of a typed column is the category of the declared vocabulary that says it, such as "True" for true.

    Raises:
        DataError: a value is several of them.
    """
    text, bad = texts(column)
    if declared.vocabulary is not None and not is_text(column.type):
        text = respell(declared.source_column, text, spellings(declared.vocabulary))
    return pc.if_else(pc.equal(text, ""), None, text), bad


def not_numbers(column: pa.Array) -> tuple[Mask, int]:
    """Which values of a column of text are not numbers, and how many are not missing."""
    _, missing, wrong = parse_numbers(column)
    return wrong, len(column) - int(missing.sum())


def _check_key(name: str, column: pa.Array) -> _Column:
    text, bad = texts(column)
    result = _Column(name, column, text)
    _blame_bytes(result, bad)
    missing = (_mask(pc.is_null(text)) | _mask(pc.equal(text, ""))) & ~bad
    result.blame("missing_key", missing, lambda _: f"{name} is empty, and is the key")
    return result


def _check_category(declared: Categorical, column: pa.Array) -> _Column:
    text, bad = category_texts(declared, column)
    name = declared.source_column
    result = _Column(name, column, text)
    _blame_bytes(result, bad)
    _blame_missing(result, declared, _mask(pc.is_null(text)) & ~bad)
    if declared.vocabulary is None:
        result.seen[f"{'text' if is_text(column.type) else 'typed'} {declared.name}"] = _mask(pc.is_valid(text))
    if declared.vocabulary is not None:
        known = _mask(pc.is_in(text, pa.array(declared.vocabulary, text.type)))
        unknown = ~known & _mask(pc.is_valid(text))
        allowed = listed(declared.vocabulary)
        if declared.max_unknown is not None:
            result.seen[f"unknown {declared.name}"] = unknown
        else:
            result.blame("unknown_value", unknown, lambda value: f"{name} is {value}, which is not one of {allowed}")
    return result


def _check_split(problem: Problem, rows: Rows) -> tuple[Codes | None, list[_Column]]:
    """The split of each row by the column that decides it, and that column; None and [] where there is none."""
    splits = problem.splits
    if splits.column is None:
        return None, []
    name = splits.column
    column = blank(rows.batch.column(name), problem.missing)
    text, bad = texts(column)
    result = _Column(name, column, text)
    _blame_bytes(result, bad)
    missing = (_mask(pc.is_null(text)) | _mask(pc.equal(text, ""))) & ~bad
    result.blame("missing_value", missing, lambda _: f"{name} is missing, and decides the split")
    if splits.by is not None:
        return by_group(splits, column)[0], [result]
    codes, wrong = by_time(splits, column)
    timed = isinstance(splits.eval_from, str)
    result.blame(
        "not_a_time" if timed else "not_a_number",
        wrong & ~missing & ~bad,
        lambda value: f"{name} is {value}, which is not {'a time' if timed else 'a finite number'}",
    )
    return codes, [result]


def _check_number(declared: Numeric, column: pa.Array) -> _Column:
    name = declared.source_column
    values, missing, wrong = parse_numbers(column)
    present = ~missing & ~wrong
    result = _Column(name, column, pa.array(values, pa.float32(), mask=~present))
    result.blame("not_a_number", wrong, lambda value: _no_number(name, value))
    _blame_missing(result, declared, missing)
    low = max(-_FLOAT32_MAXIMUM, -np.inf if declared.minimum is None else declared.minimum)
    high = min(_FLOAT32_MAXIMUM, np.inf if declared.maximum is None else declared.maximum)
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # The bound 0.1 is the float32 0.1 too, which is a little above it.
        narrow = np.float32 if pa.types.is_float32(column.type) else np.float16
        with np.errstate(over="ignore"):
            low, high = min(low, float(narrow(low))), max(high, float(narrow(high)))
    result.blame(
        "out_of_range",
        present & ((values < low) | (values > high)),
        lambda value: f"{name} is {value}, which is not between {low:g} and {high:g}",
    )
    return result


def _no_number(name: str, value: str) -> str:
    text = value.strip('"')
    option = reading_option(text)
    hint = f"; {option} reads it" if option else ""
    if text in LOOKS_MISSING:
        hint = f"; {declaration([text])} in the Problem makes it a missing value"
    return f"{name} is {value}, which is not a finite number{hint}"


def _blame_bytes(result: _Column, bad: Mask) -> None:
    result.blame("not_utf8", bad, lambda value: f"{result.name} is {value}: these bytes are not UTF-8 text")


def _blame_missing(result: _Column, declared: Numeric | Categorical, missing: Mask) -> None:
    if not declared.optional:
        result.blame("missing_value", missing, lambda _: f"{result.name} is missing, and is not optional")
    elif declared.max_missing is not None:
        result.seen[f"missing {declared.name}"] = missing


def _quarantine(table: Rows, checked: Sequence[_Column], row: int, whole: Mapping[int, Fault]) -> QuarantinedRow:
    faults = [
        Fault(column.name, reason, message(_shown(json_value(column.source[row]))))
        for column in checked
        for reason, mask, message in column.faults
        if mask[row]
    ]
    if row in whole:
        faults.append(whole[row])
    return quarantine(table, row, table.batch.schema.names, *faults)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def listed(values: Sequence[str]) -> str:
    """The first ten values, and how many more there are."""
    more = len(values) - 10
    return ", ".join(values[:10]) + (f" and {more} more" if more > 0 else "")
