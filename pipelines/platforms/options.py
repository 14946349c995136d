"""Platform options from a TOML file, read into frozen dataclasses that check themselves."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from headrace.core import storage
from headrace.core.errors import UsageError, UserError
from headrace.core.serving_mode import Serving

T = TypeVar("T")


def read_options(path: str) -> dict[str, Any]:
    """Reads the tables of an options file.

    Raises:
        UsageError: the file does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(storage.read_bytes(path).decode("utf-8"))
    except FileNotFoundError as error:
        raise UsageError("the options file does not exist", where=path, expected="a TOML file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("the options file cannot be read", where=path, received=str(error)) from error


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Creates a dataclass from a table: its fields are the keys, and fields that are dataclasses the sub-tables.

    Args:
        kind: a dataclass whose fields are annotated with str, int, float, bool, tuple[X, ...], Mapping[str, str] or
            another such dataclass.
        table: the values.
        where: name of the table, for messages.

    Raises:
        UserError: an unknown key, a missing key, a value of another type, or a value that the dataclass refuses.
    """
    hints = typing.get_type_hints(kind)
    fields = {known.name: known for known in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            raise UsageError(
                f"the option {key!r} does not exist",
                where=f"[{where}]",
                expected=f"one of {', '.join(sorted(fields))}",
                fix=f"Did you mean {close[0]!r}?" if close else None,
            )
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    missing = [
        name
        for name, known in fields.items()
        if name not in values and known.default is dataclasses.MISSING and known.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{missing[0]} is missing", where=f"[{where}]", expected=_name(hints[missing[0]]))
    try:
        return kind(**values)
    except UserError as error:
        raise error.at(f"[{where}]") from error.__cause__


def as_json(options: Any, *, without: str = "", **more: str) -> str:
    """A dataclass as a JSON object for components, without fields at their defaults.

    Args:
        options: the dataclass.
        without: a field to omit, or "".
        more: additional fields.
    """
    values = {known.name: (getattr(options, known.name), known.default) for known in dataclasses.fields(options)}
    fields = {n: value for n, (value, default) in values.items() if n != without and value not in (default, {})}
    return json.dumps({**more, **fields}, sort_keys=True)


def _value(hint: Any, value: Any, where: str) -> Any:
    """Converts `value` to the type of the field."""
    if typing.get_origin(hint) is typing.Literal:
        # The dataclass checks the words.
        hint = str
    if isinstance(hint, types.UnionType):
        # TOML has no null: an optional value is omitted, or has the other type.
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        _expect(isinstance(value, dict), hint, value, where)
        return build(hint, value, where)  # type: ignore[arg-type]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        _expect(isinstance(value, list), hint, value, where)
        return tuple(_value(inner[0], one, f"{where}[{number}]") for number, one in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, dict), hint, value, where)
        return {key: _value(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _expect(isinstance(value, hint) and (hint is bool or not isinstance(value, bool)), hint, value, where)
    return value


def _expect(right: bool, hint: Any, value: object, where: str) -> None:
    if not right:
        raise UsageError("the value has another type", where=where, expected=_name(hint), received=repr(value))


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _name(hint: Any) -> str:
    if hint in _NAMES:
        return _NAMES[hint]
    origin = typing.get_origin(hint)
    return "a list" if origin is tuple else "a table" if isinstance(hint, type | types.GenericAlias) else str(hint)


def check(right: bool, what: str, *, expected: str, received: object, fix: str | None = None) -> None:
    """Checks a value.

    Raises:
        UsageError: `right` is False.
    """
    if not right:
        raise UsageError(what, expected=expected, received=repr(received), fix=fix)


def check_serving(serving: Serving | None, stores: tuple[str, ...]) -> None:
    """Checks the serving mode of an endpoint whose servers run in containers.

    Args:
        serving: the mode; None for what the Model's Problem declares.
        stores: beginnings of the URIs that the servers can read.

    Raises:
        UsageError: it needs a table that is not named, or one that they cannot read.
    """
    if serving is None or serving.mode == "dynamic":
        return
    check(
        serving.table.startswith(stores),
        "the servers cannot read the table" if serving.table else f"{serving.mode} serving needs a table",
        expected=f"serving.table = {' or '.join(f'{store}...' for store in stores)}",
        received=serving.table,
    )
