"""Published Predictions: the folder of all published versions, with a reference to the current one.

`versions/IDENTITY/` is a Predictions artifact, with `published.json`, the time of its publication; `current.json` names
the current version, and is changed by compare-and-set.
"""

from __future__ import annotations

import datetime
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.compare_and_set import json_of, read_with_token

FORMAT = 1
NAME = "current.json"
_TIME = "published.json"


def version_uri(destination: str, identity: str) -> str:
    """The folder of a published version."""
    return storage.join(destination, "versions", identity)


def is_published(destination: str) -> bool:
    """Whether anything is published at a folder."""
    return storage.exists(storage.join(destination, NAME))


def current(destination: str) -> dict[str, Any]:
    """The content of `current.json`; {} if nothing is published.

    Raises:
        DataError: it is damaged.
    """
    where = storage.join(destination, NAME)
    found = read_with_token(where)
    return checked(None if found is None else json_of(found.content, where), destination)


def look(destination: str) -> dict[str, Any]:
    """The content of `current.json`.

    Raises:
        DataError: it is damaged.
        UsageError: nothing is published.
    """
    found = current(destination)
    if not found:
        raise UsageError(
            "nothing is published there",
            where=destination,
            expected=f"a folder with {NAME}, such as ROOT/predictions/NAME",
            fix="`headrace run batch-scoring` publishes there",
        )
    return found


def checked(found: Any, destination: str) -> dict[str, Any]:
    """The content of `current.json`; {} for None.

    Raises:
        DataError: it is of another format.
    """
    if found is None:
        return {}
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("current"), str):
        where = storage.join(destination, NAME)
        raise DataError("the file does not name the current predictions", where=where, expected=f"format {FORMAT}")
    return found


def write_time(folder: str) -> None:
    """Writes the present time into a version that is being published."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    storage.write_json(storage.join(folder, _TIME), {"published": now.isoformat()})


def time_of(version: str) -> datetime.datetime | None:
    """When a version was published; None if it was before publications had a time.

    Raises:
        DataError: the time is damaged.
    """
    where = storage.join(version, _TIME)
    if not storage.exists(where):
        return None
    found = storage.read_json(where)
    try:
        time = datetime.datetime.fromisoformat(found["published"])
        return time.astimezone(datetime.UTC)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("the time of publication is damaged", where=where, received=str(error)) from error
