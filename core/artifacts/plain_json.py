"""Plain JSON of artifacts: dataclasses as JSON values, and errors of values that were read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import DataError


def fields_of(value: Any) -> Any:
    """The result of `dataclasses.asdict`, in a third of the time and without copies: a window has a thousand shards."""
    if dataclasses.is_dataclass(value):
        return {name: fields_of(item) for name, item in vars(value).items()}
    if isinstance(value, tuple):
        return [fields_of(item) for item in value]
    if isinstance(value, Mapping):
        return {name: fields_of(item) for name, item in value.items()}
    return value


class parsing:  # noqa: N801 - reads as a statement
    """Translates errors of parsed JSON into a DataError about the file."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DataError):
            error.at(self._where)
        elif isinstance(error, KeyError | TypeError | AttributeError | ValueError):
            raise DataError(
                "the file does not have the expected fields",
                where=self._where,
                received=f"{type(error).__name__}: {error}",
            ) from error


def check_format(plain: Any, where: str, expected: int) -> None:
    """Checks the member "format" of a file.

    Raises:
        DataError: the format is another one.
    """
    if plain["format"] != expected:
        raise DataError(
            "the file has an unsupported format version",
            where=where,
            expected=f"format {expected}",
            received=str(plain["format"]),
        )
