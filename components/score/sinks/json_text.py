"""JSON text of Arrow columns, computed by column, for the JSON lines sink."""

from __future__ import annotations

import base64
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.tfrecord.conversion import is_list
from headrace.core.values.columns import as_text

_TEXT = pa.large_string()


def json_objects(batch: pa.RecordBatch, end: str = "}", key: str | None = None) -> pa.Array:
    """Formats each row as a JSON object with the batch's columns in their order, and `end` as its last characters.

    Args:
        batch: of predictions.
        end: the last characters of each object.
        key: the column that identifies a row, of which bytes are text.

    Returns:
        large_string [rows], without nulls.
    """
    pieces: list[pa.Array | pa.Scalar] = []
    opening = "{"
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        pieces += [
            pa.scalar(f"{opening}{json.dumps(name, ensure_ascii=False)}:", _TEXT),
            json_text(as_text(column) if name == key and is_bytes(column.type) else column),
        ]
        opening = ","
    return pc.binary_join_element_wise(*pieces, pa.scalar(end, _TEXT), pa.scalar("", _TEXT))


def json_text(column: pa.Array) -> pa.Array:
    """Formats each value as JSON: null, a number, true or false, {"b64": ...} for bytes, an array, or a string.

    A float has the minimum of digits that restore it when they are read as its type, and a point or an exponent, so
    that no reader infers integers for a column of floats.

    Args:
        column: any type that has a text, lists of these, dictionaries of these. Numbers are finite.

    Returns:
        large_string [rows], without nulls.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        text = json_text(column.dictionary).take(column.indices)
    elif is_list(kind):
        text = _arrays(column)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        text = column.cast(_TEXT)
    elif pa.types.is_floating(kind):
        text = _floats(column)
    elif is_bytes(kind):
        parts = (pa.scalar('{"b64":"', _TEXT), base64_text(column), pa.scalar('"}', _TEXT), pa.scalar("", _TEXT))
        text = pc.binary_join_element_wise(*parts)
    else:
        quoted = pa.scalar('"', _TEXT)
        text = pc.binary_join_element_wise(quoted, _escaped(as_text(column).cast(_TEXT)), quoted, pa.scalar("", _TEXT))
    return text.fill_null("null")


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type contains bytes, which are not text."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def base64_text(column: pa.Array) -> pa.Array:
    """Bytes in base64: large_string [rows], null where they are."""
    values = (None if value is None else base64.b64encode(value).decode() for value in column.to_pylist())
    return pa.array(values, _TEXT)


def _arrays(column: pa.Array) -> pa.Array:
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), json_text(column.flatten()))
    joined = pc.binary_join(lists, pa.scalar(",", _TEXT))
    text = pc.binary_join_element_wise(pa.scalar("[", _TEXT), joined, pa.scalar("]", _TEXT), pa.scalar("", _TEXT))
    return pc.if_else(column.is_valid(), text, None) if column.null_count else text


def _floats(column: pa.Array) -> pa.Array:
    text = column.cast(_TEXT)
    values = column.fill_null(0.5).to_numpy(zero_copy_only=False)
    if (np.floor(values) == values).any():
        whole = pc.invert(pc.match_substring_regex(text, "[.e]"))
        text = pc.if_else(whole, pc.binary_join_element_wise(text, pa.scalar(".0", _TEXT), pa.scalar("", _TEXT)), text)
    return text


def _escaped(text: pa.Array) -> pa.Array:
    """Text escaped for a JSON string, without quotes."""
    if not _has_special(text):
        return text
    special = pc.match_substring_regex(text, r'["\\\x00-\x1f]').fill_null(False)
    escaped = [json.dumps(value, ensure_ascii=False)[1:-1] for value in text.filter(special).to_pylist()]
    return pc.replace_with_mask(text, special, pa.array(escaped, _TEXT))


def _has_special(text: pa.Array) -> bool:
    """Whether any text may have a character that JSON escapes; one scan of all bytes is faster than a scan per text."""
    content = text.buffers()[2]
    if content is None:
        return False
    every = np.frombuffer(content, np.uint8)
    return bool(((every < 0x20) | (every == ord('"')) | (every == ord("\\"))).any())
