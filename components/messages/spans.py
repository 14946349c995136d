"""Spans of windows: one Parquet file per window, named after the window, and created once.

The file contains the ids of its messages. It is never changed, neither by a retried worker nor by a message that is
delivered late or repeatedly: messages that it contains are duplicates, and other messages are late.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components.messages.columns import MESSAGE_ID, MessageColumn
from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.decode import Row
from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.storage.compare_and_set import create_if_absent


@dataclass(frozen=True)
class WindowResult:
    """Result of writing the rows of a window.

    Attributes:
        span: name of the span.
        rows: number of rows of the span's file.
        created: whether this call created the file.
        dead: dead letters: duplicates, and messages delivered after the file was created.
    """

    span: str
    rows: int
    created: bool
    dead: tuple[Mapping[str, Any], ...]


def schema_of(columns: Iterable[MessageColumn]) -> pa.Schema:
    """The schema of a span's file: the messages' ids, then the columns in their order."""
    kinds = {"number": pa.float64(), "text": pa.string()}
    return pa.schema([(MESSAGE_ID, pa.string()), *((column.name, kinds[column.kind]) for column in columns)])


def write_span(config: MessagesConfig, span: str, rows: Iterable[Row]) -> WindowResult:
    """Creates the file of a window's span, with each message once, unless it exists.

    Args:
        config: names the folder and the columns.
        span: name of the span.
        rows: rows of the window: one or more, in any order, possibly repeated.

    Raises:
        UsageError: the folder cannot be written.
        DataError: the existing file is not a span.
        PlatformError: the disk or the service failed; writing again is safe.
    """
    distinct: dict[str, Row] = {}
    dead: list[Mapping[str, Any]] = []
    for row in rows:
        if row.id in distinct:
            dead.append(_dead(row, "duplicate", f"the message is in this window already, {span}"))
        else:
            distinct[row.id] = row
    uri = config.span_uri(span)
    # Sorted, so that the same messages give the same bytes in whatever order they arrived.
    ordered = [distinct[name] for name in sorted(distinct)]
    if create_if_absent(uri, _content(config, ordered)):
        return WindowResult(span, len(ordered), True, tuple(dead))
    there = _ids(uri)
    if there == distinct.keys():
        # An earlier attempt created the file, and its response was lost.
        return WindowResult(span, len(there), False, tuple(dead))
    for row in ordered:
        if row.id in there:
            dead.append(_dead(row, "duplicate", f"the message is in span {span} already"))
        else:
            dead.append(_dead(row, "late", f"span {span} was complete before the message was delivered"))
    return WindowResult(span, len(there), False, tuple(dead))


def _content(config: MessagesConfig, rows: list[Row]) -> bytes:
    schema = schema_of(config.columns)
    columns = [pa.array([row.id for row in rows], pa.string())]
    for number, field in enumerate(list(schema)[1:]):
        columns.append(pa.array([row.values[number] for row in rows], field.type))
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), out)
    return out.getvalue()


def _ids(uri: str) -> set[str]:
    try:
        table = pq.read_table(io.BytesIO(storage.read_bytes(uri)), columns=[MESSAGE_ID])
        return set(table.column(MESSAGE_ID).to_pylist())
    except (pa.ArrowException, KeyError) as error:
        raise DataError(
            "the file is not a span of messages",
            where=uri,
            expected=f"Parquet with the column {MESSAGE_ID}",
            received=str(error)[:200],
            fix="Use another --output",
        ) from error


def _dead(row: Row, reason: str, message: str) -> dict[str, Any]:
    return {**row.message, "reason": reason, "message": message}
