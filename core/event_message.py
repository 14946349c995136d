"""Event message: JSON of bounded size, parsed before the sender is verified."""

from __future__ import annotations

from typing import Any

from headrace.core.errors import DataError
from headrace.core.storage.compare_and_set import json_of

LARGEST = 16 * 1024


def event_of(message: bytes, name: str, where: str) -> Any:
    """The JSON value of a message of at most 16 KiB; not null.

    Args:
        message: bytes of the message.
        name: kind of event, such as "model event", for an error.
        where: origin of the message, for an error.

    Raises:
        DataError: the message is too large, or not JSON.
    """
    if len(message) > LARGEST:
        raise DataError(
            f"the {name} is too large",
            where=where,
            expected=f"at most {LARGEST:,} bytes",
            received=f"{len(message):,}",
        )
    return json_of(message, where)
