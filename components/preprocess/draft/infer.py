"""What the columns of a table seem to be, from its first rows: types, ranges, values, and which may be key or label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError, UsageError
from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES
from headrace.core.rows.validate import listed
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.statistics.measure import CategoricalStatistics, NumericStatistics
from headrace.core.text import counted
from headrace.core.values.columns import as_text, blank, is_text, logical
from headrace.core.values.missing import HARDLY_A_CATEGORY, LOOKS_MISSING
from headrace.core.values.numbers import parse_numbers

_BATCH_ROWS = 8192
# A class label has at most so many values.
_CLASSES = 50
# A column of text of which at most this share is no number is one of numbers, with rows for the quarantine.
_WRONG_SHARE = 0.01
_KEY_NAMES = re.compile(r"(^|_)(id|key|uuid|guid)$", re.IGNORECASE)
_LABEL_NAMES = re.compile(r"^(label|target|class|outcome|y)$|_(label|target|class|outcome)$", re.IGNORECASE)
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?$"
Kind = Literal["numeric", "categorical", "neither"]


@dataclass(frozen=True)
class Inferred:
    """What a column seems to be.

    Attributes:
        name: its name.
        kind: what it can be declared as.
        rows: rows looked at.
        missing: those without a value.
        distinct: different values.
        unique: whether every row has a value of its own, which is not a measured number.
        values: the values by frequency, of a category.
        low, high: the least and the greatest value, of a number.
        wrong: values that are no numbers, of a number.
        note: why it is neither.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    unique: bool
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    wrong: int = 0
    note: str = ""


def first_rows(data: str, limit: int, csv: CsvDialect = RFC_4180) -> tuple[pa.Table, bool]:
    """The first `limit` rows of all files at most, and whether these are all."""
    parts = list_parts(data, csv=csv)
    columns = source_of(parts[0].path, csv).columns(parts[0].path)
    names = [name for name, kind in columns if not pa.types.is_nested(kind)]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError("two columns have one name", where=parts[0].path, received=", ".join(sorted(repeated)))
    batches: list[pa.RecordBatch] = []
    count = 0
    for part in parts:
        for rows in read_part(part, names, _BATCH_ROWS):
            if count + rows.batch.num_rows > limit:
                batches.append(rows.batch.slice(0, limit - count))
                return pa.Table.from_batches(batches), False
            batches.append(rows.batch)
            count += rows.batch.num_rows
    if not count:
        raise DataError("there are no rows", where=data, expected="one row or more below the header", received="none")
    return pa.Table.from_batches([batch for batch in batches if batch.num_rows]), True


def missing_words(table: pa.Table) -> list[str]:
    """The texts that the table writes for missing values: among numbers, and those that are hardly a category."""
    found: set[str] = set()
    for column in table.columns:
        if not is_text(column.type):
            continue
        values = logical(pa.concat_arrays(column.chunks)).drop_null()
        words = LOOKS_MISSING.intersection(values.unique().to_pylist())
        others = blank(values, words).drop_null()
        numbers = len(others) and parse_numbers(others)[2].sum() <= _WRONG_SHARE * len(others)
        found.update(words if numbers else words & HARDLY_A_CATEGORY)
    return sorted(found)


def look_at(name: str, column: pa.ChunkedArray) -> Inferred:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    text = as_text(values)
    text = pc.if_else(pc.equal(text, ""), None, text)
    measured = CategoricalStatistics.measure(text)
    plain = measured.to_json()
    distinct, missing, rows = int(pc.count_distinct(text).as_py()), len(text) - measured.count, len(text)
    found = Inferred(name, "neither", rows, missing, distinct, unique=not missing and distinct == rows > 1)

    def neither(note: str) -> Inferred:
        return Inferred(name, "neither", rows, missing, distinct, found.unique, note=note)

    if pa.types.is_temporal(values.type) or _all_match(text, _TIME):
        return neither("a date or a time: derive numbers or categories from it")
    if distinct <= 1:
        return neither(f"it is always {quoted(plain['vocabulary'][0][0])}" if distinct else "it has no values")
    if not COLUMN_NAME.match(name) or name in RESERVED_NAMES:
        return neither("its name: a feature's has letters, digits and _, and is not one that predictions use")
    number = _as_number(found, values) if not pa.types.is_boolean(values.type) else None
    if number is not None and not (distinct == 2 and number.wrong == 0 and _whole(number)):
        return number
    frequent = tuple(str(value) for value, _ in plain["vocabulary"])
    return Inferred(name, "categorical", rows, missing, distinct, found.unique, values=frequent)


def _as_number(found: Inferred, values: pa.Array) -> Inferred | None:
    parsed, missing, wrong = parse_numbers(values)
    present = ~missing & ~wrong
    if not present.any() or wrong.sum() > _WRONG_SHARE * (len(values) - missing.sum()):
        return None
    measured = NumericStatistics.measure(pa.array(parsed[present]))
    unique = found.unique and bool((parsed[present] == np.floor(parsed[present])).all())
    return Inferred(
        found.name, "numeric", found.rows, int(missing.sum()), found.distinct, unique,
        low=measured.minimum, high=measured.maximum, wrong=int(wrong.sum()),
    )  # fmt: skip


def _whole(column: Inferred) -> bool:
    return column.low.is_integer() and column.high.is_integer()


def _all_match(text: pa.Array, pattern: str) -> bool:
    present = text.drop_null()
    return bool(len(present)) and bool(pc.all(pc.match_substring_regex(present, pattern)).as_py())


def key_candidates(columns: Sequence[Inferred]) -> list[Inferred]:
    """The columns whose values all differ, those that are called so first."""
    return sorted((c for c in columns if c.unique), key=lambda column: not _KEY_NAMES.search(column.name))


def chosen_key(columns: Sequence[Inferred], candidates: Sequence[Inferred], asked: str, data: str) -> Inferred:
    if asked:
        found = _named(columns, asked, "--key")
        if found.missing or not found.unique:
            raise UsageError(
                "the column does not identify rows", where="--key", expected="a value of its own in every row",
                received=f"{asked}: {counted(found.distinct, 'value')} in {counted(found.rows, 'row')}, "
                f"{found.missing:,} missing",
            )  # fmt: skip
        return found
    if not candidates:
        nearest = max(columns, key=lambda column: column.distinct)
        raise DataError(
            "no column can be the key",
            where=data,
            expected="a column with a value of its own in every row",
            received=f"at most {counted(nearest.distinct, 'value')} in {counted(nearest.rows, 'row')}, "
            f"in {nearest.name}",
            fix="Add a column that identifies each row, such as its number",
        )
    return candidates[0]


def label_candidates(columns: Sequence[Inferred], key: str) -> list[Inferred]:
    """The columns that can be predicted: those called so first, then from the last on, without missing values first."""
    possible = [c for c in reversed(columns) if c.name != key and not _why_no_label(c)]
    return sorted(possible, key=lambda column: (not _LABEL_NAMES.search(column.name), column.missing > 0))


def _why_no_label(column: Inferred) -> str:
    if column.kind == "neither":
        return column.note
    if column.kind == "categorical" and column.distinct > _CLASSES:
        return f"{column.distinct:,} classes"
    return "a value of its own in every row" if column.unique else ""


def chosen_label(
    columns: Sequence[Inferred], candidates: Sequence[Inferred], asked: str, key: Inferred, data: str
) -> Inferred:
    if asked:
        found = _named(columns, asked, "--label")
        why = "it is the key" if found is key else _why_no_label(found)
        if why and not (found.kind == "numeric" and found is not key):
            raise UsageError(
                f"{asked} cannot be the label", where="--label",
                expected=f"a number, or 2 to {_CLASSES} classes", received=why,
            )  # fmt: skip
        return found
    if not candidates:
        raise DataError("no column can be the label", where=data, expected=f"a number, or 2 to {_CLASSES} classes")
    return candidates[0]


def _named(columns: Sequence[Inferred], name: str, option: str) -> Inferred:
    for column in columns:
        if column.name == name:
            return column
    raise UsageError(
        "there is no such column", where=option, expected=listed([column.name for column in columns]), received=name
    )


def quoted(value: str) -> str:
    """A Python string, in double quotes where it can be."""
    plain = repr(value)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain and "\\'" not in plain else plain
