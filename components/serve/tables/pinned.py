"""Pinned table: a folder that names one published table, so that tables are versions of an endpoint, as models are.

It holds no predictions: the table stays where it is published, and its version there never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError

NAME, GOLDEN = "table.json", "golden.json"


@dataclass(frozen=True)
class PinnedTable:
    """A table that an endpoint serves.

    Attributes:
        table: the folder of published tables.
        version: identity of the table.
        name: of the model in URLs.
    """

    table: str
    version: str
    name: str


def is_pinned(folder: str) -> bool:
    """Whether a folder names a table; one that does not exist does not."""
    return storage.exists(storage.join(folder, NAME))


def read_pinned(folder: str) -> PinnedTable:
    """The table that a folder names.

    Raises:
        DataError: the file is damaged.
    """
    where = storage.join(folder, NAME)
    try:
        return PinnedTable(**storage.read_json(where))
    except TypeError as error:
        raise DataError("the file does not name a table", where=where, received=str(error)) from error


def golden_rows(folder: str) -> Mapping[str, Any]:
    """Some keys of the table with its predictions, in the form of a Model's golden.json."""
    found: Mapping[str, Any] = storage.read_json(storage.join(folder, GOLDEN))
    return found
