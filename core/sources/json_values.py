"""Columns of JSON values: each of one type where its values are, or else of their texts; no value is rounded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.core.values.scalars import text_of

_INT64 = (-(1 << 63), (1 << 63) - 1)
_UINT64_MAXIMUM = (1 << 64) - 1
# Integers up to it are exact as float64.
_EXACT = 1 << 53


def column_of(values: Sequence[Any], known: pa.DataType | None = None) -> pa.Array:
    """Values of one type as that, integers beside fractions as float64 where all are exact; others as their texts.

    Args:
        values: of JSON; None where there is none.
        known: the column's type in earlier rows: lists among single values, and single values among lists, are texts.
    """
    array = _typed(values)
    nested = pa.types.is_nested(array.type)
    if known is not None and not pa.types.is_null(array.type) and nested != pa.types.is_nested(known):
        return pa.array([_text(value) for value in values], pa.string())
    return array


def later_type(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    """The type that a column is read with after rows of the type `found`: fractions make integers float64."""
    if pa.types.is_list(known) and pa.types.is_list(found):
        return pa.list_(later_type(known.value_type, found.value_type))
    if pa.types.is_null(known) or (pa.types.is_int64(known) and pa.types.is_float64(found)):
        return found
    return known


def _typed(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {int}:
        return _integers(values)
    if kinds == {int, float} and all(abs(value) <= _EXACT for value in values if type(value) is int):
        return pa.array(values, pa.float64())
    if kinds == {list}:
        return _lists(values)
    if kinds in ({str}, {bool}, {float}, {dict}):
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):
            pass
    return pa.array([_text(value) for value in values], pa.string())


def _integers(values: Sequence[Any]) -> pa.Array:
    present = [value for value in values if value is not None]
    low, high = min(present), max(present)
    if _INT64[0] <= low and high <= _INT64[1]:
        return pa.array(values, pa.int64())
    if low >= 0 and high <= _UINT64_MAXIMUM:
        return pa.array(values, pa.uint64())
    return pa.array([_text(value) for value in values], pa.string())


def _lists(values: Sequence[Any]) -> pa.Array:
    flat = _typed([member for value in values if value is not None for member in value])
    ends = np.cumsum([0, *(0 if value is None else len(value) for value in values)])
    mask = pa.array([value is None for value in values])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat, mask=mask)


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | dict):
        return json.dumps(value)
    text: str = text_of(value)
    return text
