"""Row validation against the Problem, column by column: valid rows are typed, the others go to quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, Reason
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.column_faults import category_faults, key_faults, parsed_numbers
from headrace.core.rows.notation import marked_seen
from headrace.core.rows.numbering import content_fingerprint, content_texts
from headrace.core.rows.read import as_in_table
from headrace.core.rows.scales import sizes_seen
from headrace.core.rows.split_rule import Codes, by_file, by_group, by_time
from headrace.core.rows.splits import fingerprint
from headrace.core.rules import fault as rules
from headrace.core.rules.column import CategoryRule, NumberRule, bytes_fault
from headrace.core.rules.fault import shown
from headrace.core.sources.open_file import CSV_FORMATS, split_name
from headrace.core.sources.source import Rows
from headrace.core.values.columns import (
    Mask,
    blank,
    is_text,
    json_value,
    mask_of,
    nulls_of,
    respell,
    texts,
    without_empty,
)
from headrace.core.values.mixed import is_mixed, typed_in
from headrace.core.values.numbers import parse_numbers
from headrace.core.values.scaling import scaled
from headrace.core.values.spellings import spellings

_MEASURES: Mapping[Reason, str] = {"missing_value": "missing", "unknown_value": "unknown"}


@dataclass(frozen=True)
class ValidatedRows:
    """The validated rows of a batch.

    Attributes:
        batch: the rows that passed, as Examples hold them and by their names there: numbers as float32, categories and
            the key as strings; the key first, or the row's content for a problem without a key (see `numbering`).
        numbers: the row numbers of these rows in the file.
        quarantined: the other rows, in order.
        splits: 0, 1 or 2 (train, eval, test) per row; None where the key decides.
        seen: counts of the rows that passed: `rows`; for each column whose fraction is bounded, `missing NAME` and
            `unknown NAME`; for each column whose categories are measured, the types of its values, `text NAME` and
            `typed NAME`. And of all rows the sizes of numbers, see `scales.sizes_seen`, and the numbers in another
            notation, see `notation.marked_seen`.
    """

    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    quarantined: tuple[QuarantinedRow, ...]
    seen: Counter[str] = field(default_factory=Counter)
    splits: Codes | None = None


@dataclass
class _Column:
    """A column during validation: its values as read, its typed values, and the rules that they break.

    `kinds` counts text values and typed values of a column whose categories are measured; `exact` is the texts of
    numbers that expressions read.
    """

    source: pa.Array
    values: pa.Array
    faults: list[rules.RuleViolation]
    kinds: dict[str, Mask] = field(default_factory=dict)
    sizes: Counter[str] = field(default_factory=Counter)
    exact: pa.Array | None = None

    def seen(self, name: str) -> dict[str, Mask]:
        """Counts missing and unknown values, which may be a fault of the data as a whole but not of a row."""
        let_through = {f"{_MEASURES[fault.reason]} {name}": fault.rows for fault in self.faults if not fault.refuses}
        return let_through | self.kinds


def validate(problem: Problem, rows: Rows, marked: Mapping[int, Fault] | None = None) -> ValidatedRows:
    """Checks a batch against the types, ranges, vocabularies and missing values that a Problem allows.

    Args:
        problem: declares the rules of each column.
        rows: the columns of `read.read_rows` and the derived columns (see `derive.with_derived`).
        marked: faults found in a pass over the whole data, by the row's number in its part; see `marks`.
    """
    checked: dict[str, _Column] = {}
    if problem.key is not None:
        checked[problem.key_name] = _check_key(problem.key, rows.batch.column(problem.key))
    # The cause of a missing derived value is the fault to name first.
    for declared in (*problem.derivation.inputs, *problem.targets, *problem.columns):
        column = blank(rows.batch.column(declared.name), problem.missing)
        checked[declared.name] = (
            _check_number(declared, column, exact=declared.name in problem.derivation.exact)
            if isinstance(declared, Numeric)
            else _check_category(declared, column)
        )
    codes, decisive = _check_split(problem, rows)
    bad = np.zeros(rows.batch.num_rows, np.bool_)
    for result in (*checked.values(), *decisive):
        for fault in result.faults:
            if fault.refuses:
                bad |= fault.rows
    whole = {i: marked[n] for i, n in enumerate(rows.numbers.tolist()) if n in marked} if marked else {}
    bad[list(whole)] = True
    values = {name: result.values for name, result in checked.items()}
    values |= {held: checked[name].exact for name, held in problem.derivation.exact.items()}
    batch = pa.RecordBatch.from_arrays(list(values.values()), names=list(values))
    table = as_in_table(problem, rows)
    quarantined = [
        *rows.refused,
        *(_quarantine(table, [*checked.values(), *decisive], int(row), whole) for row in np.flatnonzero(bad)),
    ]
    quarantined.sort(key=lambda row: row.row)
    good = ~bad
    seen = Counter(
        {
            measure: int(np.count_nonzero(mask & good))
            for name, column in checked.items()
            for measure, mask in column.seen(name).items()
        }
    )
    seen["rows"] = int(np.count_nonzero(good))
    dialect, csv = rows.part.csv, split_name(rows.part.path)[0] in CSV_FORMATS
    plain = not csv or (dialect.decimal == "." and not dialect.thousands)
    for column in checked.values():
        seen.update(column.sizes)
        if plain:
            seen.update(marked_seen(column.source, column.faults, csv=csv))
    numbers = rows.numbers
    if bad.any():
        batch, numbers = batch.filter(pa.array(~bad)), numbers[~bad]
        codes = None if codes is None else codes[~bad]
    if problem.key is None:
        contents = content_texts(content_fingerprint(batch))
        batch = pa.RecordBatch.from_arrays([contents, *batch.columns], names=[problem.key_name, *batch.schema.names])
    if problem.splits.kind == "files":
        codes = by_file(problem.splits, rows.part.path, fingerprint(batch.column(0)))
    return ValidatedRows(batch, numbers, tuple(quarantined), seen, codes)


def quarantine(rows: Rows, row: int, columns: Sequence[str], *faults: Fault) -> QuarantinedRow:
    """The row at index `row` of a batch, with its faults and its values in `columns`."""
    values = {name: json_value(rows.batch.column(name)[row]) for name in columns}
    return QuarantinedRow(rows.part.name, int(rows.numbers[row]), faults[0], values, tuple(faults[1:]))


def category_texts(declared: Categorical, column: pa.Array) -> tuple[pa.Array, Mask]:
    """The categories in a column, null where one is missing, and which values are bytes that are not UTF-8.

    A value of a typed column is the category of the declared vocabulary that spells it, such as "True" for true.

    Raises:
        DataError: a value matches several categories.
    """
    text, bad = texts(column)
    if declared.vocabulary is not None and (is_mixed(column.type) or not is_text(column.type)):
        text = respell(declared.source_column, column, text, spellings(declared.vocabulary))
    return without_empty(text), bad


def not_numbers(column: pa.Array) -> tuple[Mask, int]:
    """Which values of a text column are not numbers, and how many values are not missing."""
    _, missing, wrong = parse_numbers(column)
    return wrong, len(column) - int(missing.sum())


def _check_key(name: str, column: pa.Array) -> _Column:
    text, bad = texts(column)
    return _Column(column, text, key_faults(name, text, bad))


def _check_category(declared: Categorical, column: pa.Array) -> _Column:
    text, bad = category_texts(declared, column)
    result = _Column(column, text, category_faults(CategoryRule(declared), declared.source_column, text, bad))
    if declared.vocabulary is None:
        present = ~nulls_of(text)
        typed = typed_in(column) if is_mixed(column.type) else np.full(len(column), not is_text(column.type))
        for kind, rows in (("text", present & ~typed), ("typed", present & typed)):
            if rows.any():
                result.kinds[f"{kind} {declared.name}"] = rows
    return result


def _check_split(problem: Problem, rows: Rows) -> tuple[Codes | None, list[_Column]]:
    """The split of each row by the column that decides it, and that column; None and [] without such a column."""
    splits = problem.splits
    if splits.column is None:
        return None, []
    name = splits.column
    column = blank(rows.batch.column(name), problem.missing)
    text, bad = texts(column)
    missing = nulls_of(text) | mask_of(pc.equal(text, ""))
    missing &= ~bad
    result = _Column(column, text, [bytes_fault(name, bad)])
    result.faults.append(
        rules.RuleViolation(name, "missing_value", missing, lambda _: f"{name} is missing, and decides the split")
    )
    if splits.by is not None:
        return by_group(splits, column)[0], [result]
    codes, wrong = by_time(splits, column)
    timed = isinstance(splits.eval_from, str)
    wanted = "a time" if timed else "a finite number"
    result.faults.append(
        rules.RuleViolation(
            name,
            "not_a_time" if timed else "not_a_number",
            wrong & ~missing & ~bad,
            lambda value: f"{name} is {value}, which is not {wanted}",
        )
    )
    return codes, [result]


def _check_number(declared: Numeric, column: pa.Array, *, exact: bool) -> _Column:
    values, present, faults = parsed_numbers(NumberRule(declared), declared.source_column, column)
    held = texts(pa.array(values, mask=~present))[0] if exact or declared.double else None
    if declared.double:
        return _Column(column, held, faults)
    if declared.exponent:
        stored = pa.array(scaled(values, declared.exponent), mask=~present)
        return _Column(column, stored, faults, exact=held)
    has_huge = any(fault.reason == "out_of_range" for fault in faults)
    sizes = sizes_seen(declared, values, present, has_huge=has_huge)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    stored = pa.array(single, mask=None if present.all() else ~present)
    return _Column(column, stored, faults, sizes=sizes, exact=held)


def _quarantine(table: Rows, checked: Sequence[_Column], row: int, whole: Mapping[int, Fault]) -> QuarantinedRow:
    faults = [
        Fault(fault.column, fault.reason, fault.message(shown(json_value(column.source[row]))))
        for column in checked
        for fault in column.faults
        if fault.refuses and fault.rows[row]
    ]
    if row in whole:
        faults.append(whole[row])
    return quarantine(table, row, table.batch.schema.names, *faults)
