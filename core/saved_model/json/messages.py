"""JSON values in messages: formatting of values and types."""

from __future__ import annotations

import json
from typing import Any

_JSON_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}


def kind_of(value: Any) -> str:
    """The JSON name of a value's type."""
    return "null" if value is None else _JSON_KINDS.get(type(value), f"of type {type(value).__name__}")


def shown(value: Any) -> str:
    """A value as JSON, shortened for a message."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _show_int(value)
    try:
        text = json.dumps(value, default=repr)
    except RecursionError:
        return f"{kind_of(value)} that is nested too deeply"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _show_int(value: int) -> str:
    # Python raises an error for integers of thousands of digits.
    return str(value) if abs(value) < 10**80 else "an integer of more than 80 digits"
