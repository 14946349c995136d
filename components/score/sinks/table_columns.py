"""Table columns: outputs of a model in Arrow, converted to the values that a prediction table stores."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.predictions import AnswerForm
from headrace.core.errors import DataError
from headrace.core.prediction_table.layout import Kind, TableColumn
from headrace.core.prediction_table.writer import ColumnValues, TableWriter
from headrace.core.tfrecord.conversion import is_list
from headrace.core.values.columns import as_text, is_bytes, is_text

_BINARY = pa.large_binary()
# Arrow names other numbers as numpy does.
_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def table_columns(schema: pa.Schema, form: AnswerForm) -> list[TableColumn]:
    """The columns of a table for the outputs in a schema, which are all but the key.

    Raises:
        DataError: the type of an output cannot be stored.
    """
    return [_column(field.name, field.type, form.lists_of_one) for field in schema if field.name != form.key]


def add_rows(writer: TableWriter, batch: pa.RecordBatch, form: AnswerForm) -> None:
    """Adds predictions to a table.

    Args:
        writer: of the table, with the columns of `table_columns`.
        batch: the key's column, which has the texts of `core.values`, and the outputs.
        form: names the key's column.

    Raises:
        DataError: a key or an output is missing, or a key of bytes is not UTF-8.
    """
    keys = as_text(batch.column(form.key))
    _check_complete(form.key, keys)
    values = {column.name: _values(column, batch.column(column.name)) for column in writer.columns}
    writer.add(keys.cast(_BINARY).to_pylist(), values)


def _column(name: str, kind: pa.DataType, lists_of_one: Collection[str]) -> TableColumn:
    if is_list(kind):
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else 0
        return TableColumn(name, *_kind(name, kind.value_type), width=width)
    return TableColumn(name, *_kind(name, kind), width=1 if name in lists_of_one else None)


def _kind(name: str, kind: pa.DataType) -> tuple[Kind, str]:
    if is_text(kind):
        return "text", ""
    if is_bytes(kind):
        return "bytes", ""
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number", _FLOATS.get(str(kind), str(kind))
    raise DataError(
        f'a prediction table cannot hold the column "{name}"',
        expected="numbers, booleans, text, bytes, or lists of these",
        received=str(kind),
        fix="Leave it out of the predictions",
    )


def _values(column: TableColumn, array: pa.Array) -> ColumnValues:
    _check_complete(column.name, array)
    if not is_list(array.type):
        return _flat(column, array)
    flat = _flat(column, array.flatten())
    if column.width:
        return flat
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64)
    return ColumnValues(flat.flat, flat.ends, np.cumsum(lengths))


def _flat(column: TableColumn, array: pa.Array) -> ColumnValues:
    _check_complete(column.name, array)
    if column.kind == "number":
        return ColumnValues(array.to_numpy(zero_copy_only=False))
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    # A copy begins at the first byte of its buffer.
    plain = pa.concat_arrays([array.cast(_BINARY)])
    ends = np.cumsum(pc.binary_length(plain).to_numpy(zero_copy_only=False).astype(np.int64))
    content, begin = plain.buffers()[2], plain.offset
    offsets = np.frombuffer(plain.buffers()[1], np.int64)[begin : begin + len(plain) + 1]
    return ColumnValues(bytes(content[int(offsets[0]) : int(offsets[-1])]) if content is not None else b"", ends)


def _check_complete(name: str, array: pa.Array) -> None:
    if array.null_count:
        raise DataError(
            f'the column "{name}" of the predictions lacks values',
            expected="a value in every row",
            received=f"{array.null_count:,} rows without one",
            fix="Leave out these rows, or score again",
        )
