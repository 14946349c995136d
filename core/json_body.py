"""JSON bodies: bounded parsing, and encoding, at the cost of microseconds per request."""

from __future__ import annotations

import json
import math
import re
from itertools import chain
from typing import Any, NoReturn

import orjson

from headrace.core.errors import DataError

# orjson reads integers beyond 64 bits as floats, which would change keys and categories.
_LONG_NUMBER = re.compile(rb"\d{19}")
# Maximum values in a body: each takes some 50 bytes of memory, but may take two in the body. An object takes four times
# as much.
MAX_VALUES = 2_000_000
_OBJECT = 4
_FEWER = f"less than {MAX_VALUES:,}, an object counted as {_OBJECT}"


def parse(body: bytes, expected: str) -> dict[str, Any]:
    """The object in a body.

    Args:
        body: JSON in UTF-8; nested at most some 1,000 deep.
        expected: the form of the object, for messages.

    Raises:
        DataError: it is not JSON, has too many values, is not an object, or a name is there twice in an object.
    """
    if len(body) > MAX_VALUES // _OBJECT and (values := _most_values(body)) >= MAX_VALUES:
        raise DataError("the body has too many values", expected=_FEWER, received=f"{values:,}")
    try:
        request = _exact(body) if _LONG_NUMBER.search(body) else orjson.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError("the body is not JSON", expected=expected, received=reason if body else "nothing") from error
    if not isinstance(request, dict):
        raise DataError("the body is not an object", expected=expected)
    # Else some names are written otherwise, nested, in a text, or there twice.
    plain = body.count(b'":') == _names(request) and not (
        b" :" in body or b"\n:" in body or b"\t:" in body or b"\r:" in body
    )
    if not plain:
        _refuse_twice(body, expected)
    return request


def _most_values(body: bytes) -> int:
    """A bound of the values in a body, counted before any is made; objects by their memory."""
    return body.count(b",") + body.count(b"[") + _OBJECT * body.count(b"{")


def _names(request: dict[str, Any]) -> int:
    """The number of names in a request and in the objects of its arrays; most requests have no others."""
    lists = (value for value in request.values() if type(value) is list and value and type(value[0]) is dict)
    return len(request) + sum(len(row) for row in chain.from_iterable(lists) if type(row) is dict)


class _Object(dict[str, Any]):
    """An object of JSON that knows a name which it has twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = None
        if len(self) < len(pairs):
            seen: set[str] = set()
            self.twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _refuse_twice(body: bytes, expected: str) -> None:
    """Raises DataError for a name that an object has twice: readers of JSON differ in which value counts."""
    twice: list[str] = []

    def noted(pairs: list[tuple[str, Any]]) -> _Object:
        found = _Object(pairs)
        if found.twice is not None:
            twice.append(found.twice)
        return found

    try:
        request = json.loads(body, object_pairs_hook=noted)
    except RecursionError as error:
        raise DataError("the body is not JSON", expected=expected, received="it is nested too deeply") from error
    if not twice:
        return
    # The name of a row, of which there may be thousands, is found by its place.
    for name, value in request.items():
        for row, inner in enumerate(value if isinstance(value, list) else ()):
            if isinstance(inner, _Object) and inner.twice is not None:
                raise DataError("the name is there twice", where=f"{name}[{row}].{inner.twice}", expected="once")
    raise DataError("the name is there twice", where=twice[0], expected="once")


def encode(value: Any) -> bytes:
    """A value as JSON, without spaces.

    Half of a surrogate pair, which the text of an error may quote, is escaped: UTF-8 has no form for it.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def _exact(body: bytes) -> Any:
    return json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        # As orjson does.
        raise ValueError("a number is too big for a double")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
