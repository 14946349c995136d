"""Operations of expressions: the kinds of their arguments and results, and the checks of their parameters.

All lowerings have exactly these operations; `evaluate` defines them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.core.checks import is_finite
from headrace.core.errors import ProblemError
from headrace.core.expressions.zones import zone_exists

# number: float64. integer: a number that is always whole. time: microseconds since 1970 in UTC.
Kind = Literal["number", "integer", "boolean", "text", "time"]
# A word, a whole number, or boundaries.
Parameter = str | int | tuple[float, ...]

KIND_NAMES: Mapping[Kind | None, str] = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "text": "text",
    "time": "a time",
    None: "a column",
}
# Conversions between kinds that are not automatic.
CAST_HINTS: Mapping[tuple[Kind | None, Kind], str] = {
    ("text", "number"): "number(...) reads a number from text",
    ("integer", "text"): "as_text(...) converts a whole number to text",
    ("number", "text"): "Round it, then convert it to text: as_text(round_half_even(...))",
    ("boolean", "text"): "as_text(...) converts true and false to text",
    ("time", "number"): "Use a part of it, such as hour(...), or the difference of two times in seconds",
}

UNITS = ("", "s", "ms", "us")
_MAXIMUM_TEXT = 1000
_MAXIMUM_BOUNDARIES = 1000


@dataclass(frozen=True)
class Signature:
    """The kinds of an operation's arguments and of its result.

    Attributes:
        arguments: kinds; "same" for any number of arguments of one kind, "any" for one argument of any kind.
        result: its kind; "same" as the arguments, or "arithmetic": integer if all arguments are.
        parameters: checks by name, each of which returns the normalized parameter, or None for a wrong one.
        expected: what a parameter must be, by name.
    """

    arguments: tuple[Kind, ...] | Literal["same", "any"]
    result: Kind | Literal["same", "arithmetic"]
    parameters: Mapping[str, tuple[Callable[[Any], Parameter | None], str]] = ()  # type: ignore[assignment]

    def check(self, given: Mapping[str, Any], where: str) -> tuple[Parameter, ...]:
        """The parameters in their order.

        Raises:
            ProblemError: one is wrong, missing or unknown.
        """
        declared = dict(self.parameters)
        if given.keys() != declared.keys():
            raise ProblemError(
                "the parameters are wrong",
                where=where,
                expected=", ".join(declared) or "none",
                received=", ".join(given) or "none",
            )
        checked = []
        for name, (check, expected) in declared.items():
            value = check(given[name])
            if value is None:
                raise ProblemError(f"{name} is wrong", where=where, expected=expected, received=repr(given[name])[:80])
            checked.append(value)
        return tuple(checked)


def _index(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= 1_000_000 else None


def _part(value: object) -> str | None:
    proper = isinstance(value, str) and 0 < len(value) <= _MAXIMUM_TEXT
    if not proper or any("\ud800" <= c <= "\udfff" or c == "\0" for c in str(value)):
        return None
    return str(value)


def _zone(value: object) -> str | None:
    return value if isinstance(value, str) and zone_exists(value) else None


def _unit(value: object) -> str | None:
    return value if isinstance(value, str) and value in UNITS else None


def _boundaries(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= _MAXIMUM_BOUNDARIES:
        return None
    if not all(map(is_finite, value)):
        return None
    kept = tuple(float(v) for v in value)
    return kept if all(a < b for a, b in itertools.pairwise(kept)) else None


_ZONE = {"zone": (_zone, 'the IANA name of a time zone, such as "UTC" or "America/Chicago"')}
_PART = {"part": (_part, f"1 to {_MAXIMUM_TEXT} characters")}
_CUT = {"start": (_index, "0 or more, below 1,000,000"), "stop": (_index, "0 or more, below 1,000,000")}

_TWO: tuple[Kind, ...] = ("number", "number")
DATE_PARTS = ("year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second")
SINGLE_PRECISION = ("log", "log1p", "exp", "expm1", "sin", "cos")
WHOLE = ("floor", "ceil", "round_half_even")

OPERATIONS: Mapping[str, Signature] = {
    **{name: Signature(_TWO, "arithmetic") for name in ("add", "subtract", "multiply", "remainder")},
    **{name: Signature(_TWO, "arithmetic") for name in ("minimum", "maximum")},
    "divide": Signature(_TWO, "number"),
    "power": Signature(_TWO, "number"),
    "absolute": Signature(("number",), "arithmetic"),
    "sqrt": Signature(("number",), "number"),
    **{name: Signature(("number",), "number") for name in SINGLE_PRECISION},
    **{name: Signature(("number",), "integer") for name in WHOLE},
    "haversine": Signature(("number",) * 4, "number"),
    "bucket": Signature(
        ("number",),
        "integer",
        {"boundaries": (_boundaries, f"1 to {_MAXIMUM_BOUNDARIES} finite numbers in strictly increasing order")},
    ),
    "less": Signature("same", "boolean"),
    "less_equal": Signature("same", "boolean"),
    "equal": Signature("same", "boolean"),
    "and": Signature(("boolean", "boolean"), "boolean"),
    "or": Signature(("boolean", "boolean"), "boolean"),
    "not": Signature(("boolean",), "boolean"),
    "if_else": Signature("same", "same"),
    "coalesce": Signature("same", "same"),
    "is_missing": Signature("any", "boolean"),
    "lower": Signature(("text",), "text"),
    "strip": Signature(("text",), "text"),
    "length": Signature(("text",), "integer"),
    "cut": Signature(("text",), "text", _CUT),
    "contains": Signature(("text",), "boolean", _PART),
    "starts_with": Signature(("text",), "boolean", _PART),
    "ends_with": Signature(("text",), "boolean", _PART),
    "concat": Signature(("text", "text"), "text"),
    "number": Signature(("text",), "number"),
    "number_of_boolean": Signature(("boolean",), "integer"),
    "text_of_integer": Signature(("integer",), "text"),
    "text_of_boolean": Signature(("boolean",), "text"),
    "boolean": Signature(("text",), "boolean"),
    "timestamp": Signature(("text",), "time", {"unit": (_unit, f"one of {', '.join(map(repr, UNITS))}")}),
    "seconds_between": Signature(("time", "time"), "number"),
    **{name: Signature(("time",), "integer", _ZONE) for name in DATE_PARTS},
}
