"""Avro values as Arrow columns: scalars from how they were written, others as fastavro decodes them.

A value that its type does not have, such as text that is not UTF-8 or an enum's symbol that does not exist, is null in
the column, and a fault of its row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Fault, Reason
from headrace.core.sources.avro.blocks import Undecodable
from headrace.core.sources.avro.schema import base_of, form_of, is_narrow, is_scalar, logical_of, type_of
from headrace.core.sources.faulty_rows import SHOWN, CheckedColumn, not_utf8
from headrace.core.values.columns import mask_of, texts
from headrace.core.values.mixed import is_mixed, member, mixed_array
from headrace.core.values.scalars import text_of

# Python and the texts of times have the years 1 to 9999: days and seconds from 1970 on.
_DAYS = (-719_162, 2_932_896)
_DAY_SECONDS = 86_400
_PER_SECOND = {"millis": 1_000, "micros": 1_000_000}
# Arrow's decimals have at most 76 digits.
_EXACT = Context(prec=80)
_NO_VALUE = (pa.ArrowException, ValueError, TypeError, ArithmeticError, RecursionError)


def column_of(name: str, kind: Any, values: Sequence[Any]) -> CheckedColumn:
    """A column, and the faults of its rows by their index, whose values are null in it.

    Args:
        name: of the column.
        kind: its Avro type, with the definitions of enums and fixed types.
        values: [rows], as of `Fields.rows`.
    """
    if not is_scalar(kind):
        return _nested(name, kind, values)
    base = base_of(kind)
    logical, form, target = logical_of(base), form_of(base), type_of(kind)
    if form == "enum":
        symbols = pa.array([str(symbol) for symbol in base["symbols"]], pa.string())
        codes, faults = _integers(name, values, (0, len(symbols) - 1), "malformed_row", "the index of a symbol")
        return symbols.take(codes), faults
    if logical == "decimal":
        return _decimals(name, base, values)
    if logical == "uuid":
        return _converted(name, values, _uuid, target, "a UUID")
    if logical:
        per_second = _PER_SECOND.get(logical.rpartition("-")[2], 1)
        unit = 1 if logical == "date" else _DAY_SECONDS * per_second
        low, high = (0, 0) if logical.startswith("time-") else _DAYS
        what = "a time of a day" if logical.startswith("time-") else "a time of the years 1 to 9999"
        found, faults = _integers(name, values, (low * unit, (high + 1) * unit - 1), "not_a_time", what)
        # Of 32 bits are dates, and times in milliseconds.
        return (found.cast(pa.int32()) if target.bit_width == 32 else found).cast(target), faults
    if form == "string":
        text, bad = texts(pa.array(values, pa.binary()))
        rows = bad.nonzero()[0].tolist() if bad.any() else []
        return text, {row: not_utf8(name, _bytes_of(values[row])) for row in rows}
    return pa.array(values, target), {}


def shown(value: Any) -> Any:
    """A value as quarantine holds it."""
    if isinstance(value, Undecodable):
        return shown(value.written)
    if isinstance(value, str | bytes):
        return _bytes_of(value).decode(errors="backslashreplace")
    return value if value is None or isinstance(value, bool | int) else str(value)


def _fault(name: str, reason: Reason, expected: str, value: Any) -> Fault:
    return Fault(name, reason, f"{name} is not {expected}: {str(shown(value))[:SHOWN]}")


def _bytes_of(text: str | bytes) -> bytes:
    """The bytes of a text, of which fastavro has surrogates where they are not UTF-8."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _integers(
    name: str, values: Sequence[Any], bounds: tuple[int, int], reason: Reason, expected: str
) -> CheckedColumn:
    """Integers of 64 bits, null outside the bounds, which are included."""
    found = pa.array(values, pa.int64())
    outside = pc.or_(pc.less(found, bounds[0]), pc.greater(found, bounds[1]))
    if not pc.any(outside).as_py():
        return found, {}
    rows = mask_of(outside).nonzero()[0].tolist()
    return pc.if_else(outside, None, found), {row: _fault(name, reason, expected, values[row]) for row in rows}


def _decimals(name: str, kind: Mapping[str, Any], values: Sequence[Any]) -> CheckedColumn:
    target = type_of(kind)
    limit = 10**target.precision

    def decimal(written: bytes) -> Decimal:
        unscaled = int.from_bytes(written, "big", signed=True)
        # Python converts a number of many digits slowly.
        if abs(unscaled) >= limit:
            raise ValueError
        return Decimal(unscaled).scaleb(-target.scale, _EXACT)

    return _converted(
        name, values, decimal, target, f"a number of {target.precision} digits", "not_a_number", _hexadecimal
    )


def _hexadecimal(value: Any) -> str:
    return f"0x{value[: SHOWN // 2].hex()}"


def _uuid(written: bytes) -> str:
    return str(UUID(written.decode()) if len(written) != 16 else UUID(bytes=written))


def _converted(
    name: str,
    values: Sequence[Any],
    convert: Callable[[Any], Any],
    target: pa.DataType,
    expected: str,
    reason: Reason = "malformed_row",
    show: Callable[[Any], Any] = shown,
) -> CheckedColumn:
    found: list[Any] = []
    faults: dict[int, Fault] = {}
    for row, value in enumerate(values):
        try:
            found.append(None if value is None else convert(value))
        except ValueError:
            found.append(None)
            faults[row] = _fault(name, reason, expected, show(value))
    return pa.array(found, target), faults


def _nested(name: str, kind: Any, values: Sequence[Any]) -> CheckedColumn:
    """A column of values that fastavro decoded: lists, records, maps, and unions of several types."""
    if not any(isinstance(value, Undecodable) for value in values):
        try:
            return _decoded(kind, values), {}
        except _NO_VALUE:
            pass
    kept: list[Any] = []
    faults: dict[int, Fault] = {}
    for row, value in enumerate(values):
        fault = _fault_of(name, kind, value)
        kept.append(None if fault else value)
        if fault:
            faults[row] = fault
    return _decoded(kind, kept), faults


def _fault_of(name: str, kind: Any, value: Any) -> Fault | None:
    if isinstance(value, Undecodable):
        return Fault(name, "malformed_row", f"{name} is not a value of its type: {value.error[:SHOWN]}")
    try:
        _decoded(kind, [value])
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        return not_utf8(name, _bytes_of(error.object))
    except _NO_VALUE as error:
        return Fault(name, "malformed_row", f"{name} is not a value of its type: {str(error)[:SHOWN]}")
    return None


def _decoded(kind: Any, values: Sequence[Any]) -> pa.Array:
    target = type_of(kind)
    if is_mixed(target):
        narrow = is_narrow(kind)
        return mixed_array([_scalar(value, narrow=narrow) for value in values])
    if pa.types.is_string(target):
        return pa.array([None if value is None else str(value) for value in values], target)
    return pa.array(values, target)


def _scalar(value: Any, *, narrow: bool) -> bool | int | float | str | None:
    """A value of a union of several types, with its type if it is a boolean or a number; others are text.

    Args:
        value: as fastavro reads it.
        narrow: whether fractions are float32.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return member(value, single=narrow)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return text_of(value) if isinstance(value, Decimal) else str(texts(pa.array([value]))[0][0].as_py())
