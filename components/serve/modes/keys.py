"""Keys of requests: the text of each row's key, by the rules of `core.values`."""

from __future__ import annotations

from typing import Any

from headrace.components.serve.modes.answerer import RowsRequest
from headrace.core.errors import DataError
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.values.scalars import text_of


def keys_of(request: RowsRequest, key_name: str) -> list[str | None]:
    """The key of each row, from `key` or from the key's column; None for a row without one.

    Raises:
        DataError: a row has two different keys, or one that is not a single value.
    """
    keys = _texts(request, KEY)
    if key_name == KEY:
        return keys
    others = _texts(request, key_name)
    for row, (key, other) in enumerate(zip(keys, others, strict=True)):
        if key is not None and other is not None and key != other:
            raise DataError(
                "the row has two keys",
                where=request.place(row, key_name),
                expected=f"{KEY} or {key_name}",
                received=f"{shown(key)} and {shown(other)}",
            )
    return [other if key is None else key for key, other in zip(keys, others, strict=True)]


def _texts(request: RowsRequest, name: str) -> list[str | None]:
    return [_text(value, request, row, name) for row, value in enumerate(request.column(name))]


def _text(value: Any, request: RowsRequest, row: int, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return text_of(value)
    except TypeError:
        raise DataError(
            f"the key is {kind_of(value)}",
            where=request.place(row, name),
            expected="a string or a number",
            received=shown(value),
        ) from None
