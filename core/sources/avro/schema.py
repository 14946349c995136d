"""Avro schemas: the Arrow types of their fields, how values are written, and the minimum size of a record in bytes."""

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
_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_INTEGERS = ("int", "long")
# The types that a logical type may be written as. By the specification it has no meaning on another one.
_WRITTEN_AS = {
    **dict.fromkeys(("date", "time-millis", "time-micros"), _INTEGERS),
    **dict.fromkeys(("timestamp-millis", "timestamp-micros"), _INTEGERS),
    **dict.fromkeys(("local-timestamp-millis", "local-timestamp-micros"), _INTEGERS),
    "uuid": ("string", "fixed"),
    "decimal": ("bytes", "fixed"),
}


def type_of(kind: Any) -> pa.DataType:
    """The Arrow type of an Avro type; a mixed column for a union of several types."""
    if isinstance(kind, list):
        others = [type_of(other) for other in kind if other != "null"]
        if not others:
            return pa.null()
        # Of integers and fractions in one column neither is rounded, and a boolean is none of the texts beside it.
        return others[0] if len(set(others)) == 1 else MixedType()
    if isinstance(kind, dict):
        logical = logical_of(kind)
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


def form_of(kind: Any) -> str:
    """The name of a type without attributes: "long" of a timestamp, "enum", "fixed", "array"; "union" of a list."""
    if isinstance(kind, dict):
        return form_of(kind["type"])
    return "union" if isinstance(kind, list) else str(kind)


def logical_of(kind: Any) -> str:
    """The logical type of a type; "" without one, or with one that it does not have."""
    logical = str(kind.get("logicalType", "")) if isinstance(kind, dict) else ""
    return logical if form_of(kind) in _WRITTEN_AS.get(logical, ()) else ""


def base_of(kind: Any) -> Any:
    """The type of values that are not null: that of a union of null and one type, or of one type."""
    others = [other for other in kind if other != "null"] if isinstance(kind, list) else [kind]
    base = others[0] if len(others) == 1 else kind
    while isinstance(base, dict) and isinstance(base["type"], dict) and "logicalType" not in base:
        base = base["type"]
    return base


def is_scalar(kind: Any) -> bool:
    """Whether values are null or of one type, which holds no others."""
    return form_of(base_of(kind)) in (*_PRIMITIVES, "enum", "fixed")


def named_types(kind: Any) -> dict[str, Any]:
    """The definitions of records, enums and fixed types in a type, by name."""
    if isinstance(kind, list):
        return {name: found for other in kind for name, found in named_types(other).items()}
    if not isinstance(kind, dict):
        return {}
    inner = [field["type"] for field in kind.get("fields", ())]
    inner += [kind[part] for part in ("items", "values") if part in kind]
    inner += [kind["type"]] if isinstance(kind["type"], dict | list) else []
    return {**({str(kind["name"]): kind} if "name" in kind else {}), **named_types(inner)}


class Definitions:
    """Puts the definitions of named types in the places of their names.

    Args:
        named: as of `named_types`; no type is within itself.
    """

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        # A short schema of types within lists of types declares any number of fields.
        self._left = MAXIMUM_MEMBERS

    def of(self, kind: Any) -> Any:
        """A type without names of other types, as long as it has no more than `MAXIMUM_MEMBERS` of their fields."""
        if isinstance(kind, list):
            return [self.of(other) for other in kind]
        if isinstance(kind, str):
            found = self._named.get(kind)
            size = 1 + len(found.get("fields", ())) if found else 0
            if not found or size > self._left:
                return kind
            self._left -= size
            return self.of(found)
        form = kind["type"]
        if form in ("record", "error"):
            return {**kind, "fields": [{**field, "type": self.of(field["type"])} for field in kind["fields"]]}
        for part, whole in (("items", "array"), ("values", "map")):
            if form == whole:
                return {**kind, part: self.of(kind[part])}
        return kind


def physical(kind: Any, definitions: Mapping[str, Any], memo: dict[str, Any]) -> Any:
    """The type by which a value is read as it was written: any bytes are a text, and any integer is a date or an enum.

    Args:
        kind: the type.
        definitions: as of `named_types`.
        memo: the results of named types, each of which is made once: types within types may be many.
    """
    if isinstance(kind, list):
        return [physical(other, definitions, memo) for other in kind]
    if isinstance(kind, str):
        if kind in definitions and kind not in memo:
            memo[kind] = physical(definitions[kind], definitions, memo)
        return memo.get(kind, "bytes" if kind == "string" else kind)
    form = kind["type"]
    if form in ("record", "error"):
        fields = [
            {"name": field["name"], "type": physical(field["type"], definitions, memo)} for field in kind["fields"]
        ]
        return {"type": "record", "name": kind["name"], "fields": fields}
    if form == "fixed":
        return {"type": "fixed", "name": kind["name"], "size": kind["size"]}
    for part, whole in (("items", "array"), ("values", "map")):
        if form == whole:
            return {"type": whole, part: physical(kind[part], definitions, memo)}
    return "int" if form == "enum" else physical(form, definitions, memo)


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
