"""Columns of JSON values: typed if all values have one type, else text; no value is rounded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.core.values.mixed import mixed_array
from headrace.core.values.scalars import text_of

_INT64 = (-(1 << 63), (1 << 63) - 1)
_UINT64_MAXIMUM = (1 << 64) - 1
# Integers up to this are exact in float64.
_EXACT = 1 << 53


def column_of(values: Sequence[Any], known: pa.DataType | None = None) -> pa.Array:
    """A column of values: typed if they have one type; float64 for integers and fractions if all are exact.

    Texts, booleans and numbers in one column are a mixed one, see `values.mixed`; other types in one column are text.

    Args:
        values: JSON values; None for missing ones.
        known: the column's type in earlier rows: values of another shape, such as a list of lists after lists, become
            text.
    """
    array = _typed(values)
    if known is not None and not _alike(known, array.type):
        return pa.array([_text(value) for value in values], pa.string())
    return array


def _alike(known: pa.DataType, found: pa.DataType) -> bool:
    """Whether types are of one shape: lists of the same depth, objects, or single values; nulls are of any."""
    if pa.types.is_null(known) or pa.types.is_null(found):
        return True
    if pa.types.is_list(known) and pa.types.is_list(found):
        return _alike(known.value_type, found.value_type)
    kinds = (pa.types.is_list, pa.types.is_nested)
    return all(is_kind(known) == is_kind(found) for is_kind in kinds)


def later_type(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    """The type of a column after rows of the type `found`: fractions change integers to float64."""
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
    if kinds <= {str, bool, int, float} and not any(type(v) is float and not math.isfinite(v) for v in values):
        return mixed_array(values)
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
