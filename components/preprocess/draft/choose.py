"""Choice of key and label: the columns of a table that are candidates, in the order of preference."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.preprocess.draft.infer import InferredColumn
from headrace.components.preprocess.draft.read import FirstRows
from headrace.core.errors import DataError, UsageError
from headrace.core.rules.fault import listed
from headrace.core.text import counted
from headrace.core.values.columns import as_text

# Why a column is neither label nor feature.
KEY_NOTE, UNIQUE_NOTE = "it is the key", "a unique value in every row"
# Maximum number of classes of a label, and minimum rows per class of a proposed label.
_CLASSES, _CLASS_ROWS = 50, 5
# Minimum fraction of rows with a value, for a proposed label.
_LABELLED = 0.95
_LABEL_NAMES = re.compile(
    r"^(label|target|class|outcome|survived|y)$|[^A-Za-z](label|target|class|outcome)$", re.IGNORECASE
)
# Names of times and places, which are rarely predicted.
_WHEN_OR_WHERE = re.compile(
    r"(^|[^A-Za-z])(year|month|week|weekday|day|hour|minute|quarter|season|time|date|lat|latitude|lon|long|longitude|zip|"
    r"zipcode|postcode|fips)([^A-Za-z]|$)",
    re.IGNORECASE,
)


def key_candidates(columns: Sequence[InferredColumn]) -> list[InferredColumn]:
    """The columns that identify rows: first those with such a name, then columns of text; all must have a name."""
    named = [c for c in columns if c.unique and c.name and (c.called_identifier or c.kind == "categorical")]
    return sorted(named, key=lambda column: not column.called_identifier)


def choose_key(
    columns: Sequence[InferredColumn], candidates: Sequence[InferredColumn], asked: str, rows: FirstRows
) -> InferredColumn | None:
    """The key: the requested column, the first candidate, or none.

    Raises:
        UsageError: the column does not exist, or has equal or missing values; the message has their rows.
    """
    if not asked:
        return candidates[0] if candidates else None
    found = _named(columns, asked, "--key")
    text = as_text(pa.concat_arrays(rows.table.column(asked).chunks))
    missing = pc.or_kleene(pc.is_null(text), pc.equal(text, "")).to_numpy(zero_copy_only=False)
    if missing.any():
        raise _no_key(asked, f"{missing.sum():,} rows have no value, the first of them {rows.place(missing.argmax())}")
    seen: dict[str, int] = {}
    equal: list[str] = []
    for row, value in enumerate(text.to_pylist()):
        if value in seen and len(equal) < 3:
            equal.append(f'{rows.place(seen[value])} and {rows.place(row)} both have "{value}"')
        seen.setdefault(value, row)
    if equal:
        raise _no_key(asked, f"{counted(len(seen), 'value')} in {counted(len(text), 'row')}: {'; '.join(equal)}")
    return found


def _no_key(asked: str, received: str) -> UsageError:
    return UsageError(
        f'the column "{asked}" does not identify rows',
        where="--key",
        expected="a unique value in every row",
        received=received,
        fix="Remove --key: rows are then numbered by their content (key=None)",
    )


def label_candidates(columns: Sequence[InferredColumn], key: InferredColumn | None) -> list[InferredColumn]:
    """The columns that can be predicted: first those with such a name, then complete columns, the last one first.

    Times and places come last.
    """
    possible = [c for c in reversed(columns) if c is not key and not _why_no_label(c)]
    proposed = [c for c in possible if c.rows - c.missing > _LABELLED * c.rows and _enough_rows(c)] or possible

    def order(column: InferredColumn) -> tuple[bool, bool, bool]:
        named, aside = _LABEL_NAMES.search(column.name), _WHEN_OR_WHERE.search(column.name)
        return not named, bool(aside), column.missing > 0

    return sorted(proposed, key=order)


def _enough_rows(column: InferredColumn) -> bool:
    return column.kind == "numeric" or column.rarest >= _CLASS_ROWS


def _why_no_label(column: InferredColumn) -> str:
    if column.kind == "neither" or (column.kind == "categorical" and column.wrong):
        return column.note
    if column.kind == "categorical" and column.distinct > _CLASSES:
        return f"{column.distinct:,} classes"
    return column.note or UNIQUE_NOTE if column.identifies else ""


def choose_label(
    columns: Sequence[InferredColumn],
    candidates: Sequence[InferredColumn],
    asked: str,
    key: InferredColumn | None,
    data: str,
) -> InferredColumn:
    """The label: the requested column, or the first candidate.

    Raises:
        UsageError: the column does not exist, or cannot be the label.
        DataError: no column can be the label.
    """
    expected = f"a number, or 2 to {_CLASSES} classes"
    if asked:
        found = _named(columns, asked, "--label")
        why = KEY_NOTE if found is key else _why_no_label(found)
        if why and (found is key or found.kind != "numeric"):
            raise UsageError(f"{asked} cannot be the label", where="--label", expected=expected, received=why)
        return found
    if not candidates:
        seen = "; ".join(f'"{c.name}": {KEY_NOTE if c is key else _why_no_label(c)}' for c in columns[:5])
        raise DataError("no column can be the label", where=data, expected=expected, received=seen)
    return candidates[0]


def _named(columns: Sequence[InferredColumn], name: str, option: str) -> InferredColumn:
    for column in columns:
        if column.name == name:
            return column
    raise UsageError(
        "the column does not exist", where=option, expected=listed([column.name for column in columns]), received=name
    )
