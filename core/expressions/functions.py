"""Functions of expressions, which `headrace.expressions` exports in addition to the operators and methods.

If a number or a time is expected, text is the name of a column: `hour("trip_start")` is `hour(col("trip_start"))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.core.errors import ProblemError
from headrace.core.expressions.nodes import ColumnReference, Expression, as_expression, call, shown

# A number or an expression, or the name of a column.
Number = Expression | int | float | str
Time = Expression | str


def col(name: str) -> Expression:
    """A column of the table, or another derived column; its use determines whether it is a number, text or a time.

    Raises:
        ProblemError: the name is not text, or is empty.
    """
    if not isinstance(name, str) or not name:
        raise ProblemError("col is wrong", where="col", expected="a column's name", received=repr(name))
    return ColumnReference(name)


def log(x: Number) -> Expression:
    """Natural logarithm; missing where `x` is not above 0."""
    return call("log", _operand(x))


def log1p(x: Number) -> Expression:
    """Logarithm of 1 + x; missing where `x` is not above -1."""
    return call("log1p", _operand(x))


def exp(x: Number) -> Expression:
    """e to the power of x."""
    return call("exp", _operand(x))


def expm1(x: Number) -> Expression:
    """e to the power of x, minus 1."""
    return call("expm1", _operand(x))


def sqrt(x: Number) -> Expression:
    """Square root; missing for a negative number."""
    return call("sqrt", _operand(x))


def sin(x: Number) -> Expression:
    """Sine of an angle in radians; missing beyond 100,000 radians either way."""
    return call("sin", _operand(x))


def cos(x: Number) -> Expression:
    """Cosine of an angle in radians; missing beyond 100,000 radians either way."""
    return call("cos", _operand(x))


def floor(x: Number) -> Expression:
    """The next whole number downwards."""
    return call("floor", _operand(x))


def ceil(x: Number) -> Expression:
    """The next whole number upwards."""
    return call("ceil", _operand(x))


def round_half_even(x: Number) -> Expression:
    """The nearest whole number; of 0.5, 1.5 and the like, the nearest even one."""
    return call("round_half_even", _operand(x))


def minimum(a: Number, b: Number) -> Expression:
    """The smaller of two numbers."""
    return call("minimum", _operand(a), _operand(b))


def maximum(a: Number, b: Number) -> Expression:
    """The larger of two numbers."""
    return call("maximum", _operand(a), _operand(b))


def bucket(x: Number, boundaries: Sequence[float]) -> Expression:
    """The index of a number's interval between boundaries: the number of boundaries that are not above it."""
    return call("bucket", _operand(x), boundaries=tuple(boundaries))


def haversine(latitude: Number, longitude: Number, to_latitude: Number, to_longitude: Number) -> Expression:
    """Great-circle distance in km, on a sphere of 6371.0088 km radius.

    Args:
        latitude, to_latitude: in degrees; missing beyond 90 either way.
        longitude, to_longitude: in degrees; missing beyond 360 either way.
    """
    return call("haversine", *(_operand(x) for x in (latitude, longitude, to_latitude, to_longitude)))


def if_else(condition: Any, then: Any, otherwise: Any) -> Expression:
    """`then` if the condition is true, `otherwise` if it is false; missing if the condition is missing."""
    return call("if_else", condition, then, otherwise)


def number(x: Any) -> Expression:
    """Text parsed as a number with a decimal point, float64; missing if it is not a number. Booleans are 1 or 0."""
    x = _operand(x)
    if x.kind == "boolean":
        return call("number_of_boolean", x)
    return call("number", x)


def as_text(x: Any) -> Expression:
    """A whole number as its digits, a boolean as "true" or "false"; missing for whole numbers beyond 2^53."""
    operand = _operand(x)
    if operand.kind == "text":
        return operand
    return call("text_of_boolean" if operand.kind == "boolean" else "text_of_integer", operand)


def timestamp(x: Time, unit: str = "") -> Expression:
    """A time from text.

    Args:
        x: text, or a column: `2026-05-16`, `2026-05-16 17:28`, `2026-05-16T17:28:20.5Z`, `2026-05-16 17:28:20+02:00`;
            the date also as `2026/05/16`; times without an offset are in UTC. A column of dates or timestamps is
            converted to such text.
        unit: "s", "ms" or "us" for numbers since 1970 in UTC; "" for text as above.

    Text that is not a time, or outside the years 1 to 9999, is missing.
    """
    x = _operand(x)
    if isinstance(x, ColumnReference) and x.kind is None:
        x = ColumnReference(x.name, "text")
    return call("timestamp", x, unit=unit)


def year(x: Time, zone: str = "UTC") -> Expression:
    """Year of a time in a time zone."""
    return _part("year", x, zone)


def month(x: Time, zone: str = "UTC") -> Expression:
    """Month of a time in a time zone, 1 to 12."""
    return _part("month", x, zone)


def day(x: Time, zone: str = "UTC") -> Expression:
    """Day of the month of a time in a time zone, 1 to 31."""
    return _part("day", x, zone)


def weekday(x: Time, zone: str = "UTC") -> Expression:
    """Day of the week of a time in a time zone, 0 (Monday) to 6."""
    return _part("weekday", x, zone)


def day_of_year(x: Time, zone: str = "UTC") -> Expression:
    """Day of the year of a time in a time zone, 1 to 366."""
    return _part("day_of_year", x, zone)


def hour(x: Time, zone: str = "UTC") -> Expression:
    """Hour of a time in a time zone, 0 to 23."""
    return _part("hour", x, zone)


def minute(x: Time, zone: str = "UTC") -> Expression:
    """Minute of a time in a time zone, 0 to 59."""
    return _part("minute", x, zone)


def second(x: Time, zone: str = "UTC") -> Expression:
    """Second of a time in a time zone, 0 to 59."""
    return _part("second", x, zone)


def _part(part: str, x: Time, zone: str) -> Expression:
    return call(part, _operand(x), zone=zone)


def _operand(x: object) -> Expression:
    if isinstance(x, str):
        return col(x)
    return as_expression(x, shown(x)[:80])


__all__ = [
    "Expression",
    "as_text",
    "bucket",
    "ceil",
    "col",
    "cos",
    "day",
    "day_of_year",
    "exp",
    "expm1",
    "floor",
    "haversine",
    "hour",
    "if_else",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "minute",
    "month",
    "number",
    "round_half_even",
    "second",
    "sin",
    "sqrt",
    "timestamp",
    "weekday",
    "year",
]
