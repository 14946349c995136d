"""Advice on splits in a drafted Problem file: by group where entities have several rows, by time where rows have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from headrace.components.preprocess.draft.infer import InferredColumn, quoted
from headrace.core.rows.split_rule import moments

# An entity has at least this many rows on average, and there are at least so many entities.
_ROWS_AN_ENTITY, _ENTITIES = 1.1, 10
# The fraction of rows that must have a time.
_TIMED = 0.95


def about_splits(columns: Sequence[InferredColumn], key: InferredColumn | None, table: pa.Table) -> Iterator[str]:
    """Lines of comments that propose a split by the first entity and by the first time, if there are such columns.

    Args:
        columns: of the table.
        key: the key's column, or None.
        table: the rows that were read.
    """
    entities = [c for c in columns if c is not key and _is_entity(c)]
    if entities:
        name, seen = quoted(entities[0].name), f"{entities[0].distinct:,} values in {entities[0].rows:,} rows"
        yield f"    # {name} has {seen}. To keep all rows of one value in one split:"
        yield f"    # splits=Splits(by={name}),"
    times = time_columns(columns, key, table)
    if times:
        name = quoted(times[0].name)
        yield f"    # Rows have a time, {name}. To test on the newest rows, as a model is used:"
        yield f"    # splits=Splits(time={name}),"


def time_columns(
    columns: Sequence[InferredColumn], key: InferredColumn | None, table: pa.Table
) -> list[InferredColumn]:
    """The columns of times, in almost all rows, that can split the rows and from which features can be derived."""
    return [column for column in columns if column is not key and _has_times(column, table)]


def _is_entity(column: InferredColumn) -> bool:
    named = column.called_identifier and column.name != ""
    repeated = column.rows - column.missing >= _ROWS_AN_ENTITY * column.distinct
    return named and not column.missing and repeated and column.distinct >= _ENTITIES


def _has_times(column: InferredColumn, table: pa.Table) -> bool:
    if not column.name or column.distinct < 3 or not column.note.startswith("a date or a time"):
        return False
    values = pa.concat_arrays(table.column(column.name).chunks)
    if pa.types.is_time(values.type):
        return False
    return bool(np.mean(moments(values)[1]) >= _TIMED)
