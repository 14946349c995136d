"""Avro schemas: the Arrow types of their fields, and the minimum size of a record in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

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


def minimum_width(kind: Any, names: dict[str, int] | None = None) -> int:
    """The minimum size of a value of an Avro type in bytes.

    Raises:
        ValueError: an array's items may have no bytes, so a few bytes may declare any number of items.
    """
    names = {} if names is None else names
    if isinstance(kind, str):
        return names.get(kind, _WIDTHS.get(kind, 1))
    if isinstance(kind, list):
        # A union starts with the index of its type.
        return 1 + min((minimum_width(other, names) for other in kind), default=0)
    form = kind["type"]
    if form == "record":
        # A recursive type is within a union, an array or a map, which have at least one byte.
        names[kind["name"]] = 1
        width = sum(minimum_width(field["type"], names) for field in kind["fields"])
        names[kind["name"]] = width
        return width
    if form == "array":
        if minimum_width(kind["items"], names) == 0:
            raise ValueError("an array's items are of a type without content")
        return 1
    if form == "map":
        minimum_width(kind["values"], names)
        return 1
    if form == "fixed":
        names[kind["name"]] = int(kind["size"])
        return int(kind["size"])
    return 1 if form == "enum" else minimum_width(form, names)
