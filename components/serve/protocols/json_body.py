"""JSON bodies: bounded parsing, and encoding, at the cost of microseconds per request."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from headrace.core.errors import DataError

# orjson reads integers beyond 64 bits as floats, which would change keys and categories.
_LONG_NUMBER = re.compile(rb"\d{19}")
# Maximum values in a body: each takes some 50 bytes of memory, but may take two in the body.
MAX_VALUES = 2_000_000


def parse(body: bytes, expected: str) -> dict[str, Any]:
    """The object in a body.

    Args:
        body: JSON in UTF-8; nested at most some 1,000 deep.
        expected: the form of the object, for messages.

    Raises:
        DataError: it is not JSON, has too many values, or is not an object.
    """
    if len(body) > MAX_VALUES and (values := body.count(b",")) >= MAX_VALUES:
        raise DataError("the body has too many values", expected=f"less than {MAX_VALUES:,}", received=f"{values:,}")
    try:
        request = _exact(body) if _LONG_NUMBER.search(body) else orjson.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError("the body is not JSON", expected=expected, received=reason if body else "nothing") from error
    if not isinstance(request, dict):
        raise DataError("the body is not an object", expected=expected)
    return request


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
    return json.loads(body, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
