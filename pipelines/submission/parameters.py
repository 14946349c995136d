"""Pipeline parameters from the command line: parsed, and checked for completeness."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.core.errors import UsageError

_TRUE_FALSE = {"true": True, "false": False}


def declared(pipeline: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a compiled pipeline: types and defaults."""
    found: Mapping[str, Any] = pipeline.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    return found


def parse(texts: Sequence[str], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Parses NAME=VALUE to values of the types that the pipeline declares.

    Raises:
        UsageError: the pipeline does not have the name, or the value has another type.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(
                "the option is not a parameter", where="--parameter", expected="NAME=VALUE", received=repr(text)
            )
        if name in values:
            raise UsageError("the parameter is repeated", where="--parameter", expected="each name once", received=name)
        if name not in definitions:
            close = difflib.get_close_matches(name, definitions, n=1)
            raise UsageError(
                f"the pipeline has no parameter {name!r}",
                where="--parameter",
                expected=f"one of {', '.join(sorted(definitions))}" if definitions else "none",
                fix=f"Did you mean {close[0]!r}?" if close else None,
            )
        values[name] = _value(name, value, str(definitions[name].get("parameterType", "STRING")))
    return values


def check_complete(values: Mapping[str, Any], definitions: Mapping[str, Any], options: Mapping[str, str]) -> None:
    """Refuses a submission with missing parameters.

    Args:
        values: the parameters.
        definitions: of the pipeline's parameters.
        options: the command's options by the parameters derived from them.

    Raises:
        UsageError: a parameter is missing; the message has the options.
    """
    missing = [
        name
        for name, definition in definitions.items()
        if name not in values and "defaultValue" not in definition and not definition.get("isOptional")
    ]
    if missing:
        wanted = list(dict.fromkeys(options.get(name, f"--parameter {name}=...") for name in missing))
        raise UsageError(
            "the pipeline has missing parameters",
            where=", ".join(missing),
            fix=f"Set {', '.join(wanted)}",
        )


def _value(name: str, text: str, kind: str) -> Any:
    if kind == "STRING":
        return text
    readers: dict[str, tuple[str, Callable[[str], Any]]] = {
        "NUMBER_INTEGER": ("a whole number", int),
        "NUMBER_DOUBLE": ("a number", float),
        "BOOLEAN": ("true or false", lambda said: _TRUE_FALSE[said.lower()]),
        "LIST": ("a JSON list", lambda said: _json(said, list)),
        "STRUCT": ("a JSON object", lambda said: _json(said, dict)),
    }
    expected, read = readers.get(kind, ("a parameter that a command line can give", lambda _: _json("", dict)))
    try:
        return read(text)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"the value of {name} is not valid", where="--parameter", expected=expected, received=repr(text)
        ) from error


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(text)
    return value
