"""Avro schemas: the Arrow types of their fields, and the minimum size of a record in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from headrace.core.sources.source import MAXIMUM_MEMBERS
from headrace.core.values.mixed import MixedType

TYPES: Mapping[str, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "date": pa.date32(),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "uuid": pa.string(),
}
_WIDTHS = {"null": 0, "float": 4, "double": 8}


def type_of(kind: Any) -> pa.DataType:
    """The Arrow type of an Avro type; a mixed column for a union of several types."""
    if isinstance(kind, list):
        others = [type_of(other) for other in kind if other != "null"]
        if not others:
            return pa.null()
        # Of integers and fractions in one column neither is rounded, and a boolean is none of the texts beside it.
        return others[0] if len(set(others)) == 1 else MixedType()
    if isinstance(kind, dict):
        logical = str(kind.get("logicalType"))
        if logical == "decimal":
            precision = int(kind["precision"])
            return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, kind.get("scale", 0))
        if logical in TYPES:
            return TYPES[logical]
        if kind["type"] == "array":
            return pa.list_(type_of(kind["items"]))
        if kind["type"] == "record":
            return pa.struct([(field["name"], type_of(field["type"])) for field in kind["fields"]])
        if kind["type"] == "map":
            return pa.map_(pa.string(), type_of(kind["values"]))
        return type_of(kind["type"])
    return TYPES.get(str(kind), pa.string())


def is_narrow(union: Any) -> bool:
    """Whether the fractions of a union are float32."""
    kinds = [type_of(kind) for kind in union]
    return pa.float32() in kinds and pa.float64() not in kinds


def minimum_width(schema: Any) -> int:
    """The minimum size of a value of an Avro type in bytes.

    Raises:
        ValueError: an array's items may have no bytes, so a few bytes may declare any number of items; a type is within
            itself, so a value may be nested without a limit; or a record has more than `MAXIMUM_MEMBERS` values.
    """
    return _extent(schema, {}).width


class _Extent(NamedTuple):
    """The minimum size of a value in bytes, and the maximum of values in it, without those in arrays and maps."""

    width: int
    values: int


def _extent(kind: Any, names: dict[str, _Extent | None]) -> _Extent:
    """Measures a type; `names` has the extents of the named types before it, None while a type is measured."""
    if isinstance(kind, str):
        found = names.get(kind, _Extent(_WIDTHS.get(kind, 1), 1))
        if found is None:
            # fastavro, which is compiled, reads such a value by calls within calls, and a deep one ends the process.
            raise ValueError(f"the type {kind} is within itself")
        return found
    if isinstance(kind, list):
        # A union starts with the index of its type.
        options = [_extent(other, names) for other in kind] or [_Extent(0, 1)]
        return _Extent(1 + min(each.width for each in options), max(each.values for each in options))
    form, name = kind["type"], str(kind.get("name"))
    if form in ("record", "error"):
        names[name] = None
        fields = [_extent(field["type"], names) for field in kind["fields"]]
        found = _Extent(sum(each.width for each in fields), max(1, sum(each.values for each in fields)))
        # A schema of 60 short records, each of which has the one before twice, declares 2 to the 60 values.
        if found.values > MAXIMUM_MEMBERS:
            raise ValueError(f"the record {name} has {found.values:,} values, more than {MAXIMUM_MEMBERS:,}")
    elif form == "fixed":
        found = _Extent(int(kind["size"]), 1)
    elif form == "array":
        if _extent(kind["items"], names).width == 0:
            raise ValueError("an array's items are of a type without content")
        return _Extent(1, 1)
    elif form == "map":
        _extent(kind["values"], names)
        return _Extent(1, 1)
    else:
        return _Extent(1, 1) if form == "enum" else _extent(form, names)
    names[name] = found
    return found
