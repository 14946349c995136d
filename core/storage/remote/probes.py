"""Probes: small files of headrace's own, by which it learns what a store does, and what time it is there.

They are next to the objects that are to be written, where the account may write, and each has a name of its own. They
are removed at once; a killed process may leave one, which is part of no folder's content.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.core.errors import PlatformError
from headrace.core.storage.remote.store import Store

_CONTENT = b"headrace probe\n"
_NAME = re.compile(r"\.headrace-probe-[0-9a-f]{16}")


@contextmanager
def probe(store: Store, folder: str) -> Iterator[str]:
    """The URI of a new object directly in `folder`, removed when the block ends. Errors as of `Store`."""
    uri = f"{folder.rstrip('/')}/{probe_name()}"
    store.write_bytes(uri, _CONTENT)
    try:
        yield uri
    finally:
        store.remove([uri])


def probe_name() -> str:
    """A new name for a probe, without its folder."""
    return f".headrace-probe-{secrets.token_hex(8)}"


def is_probe(name: str) -> bool:
    """Whether a name, given without its folder, is that of a probe."""
    return _NAME.fullmatch(name) is not None


def clock(store: Store, folder: str) -> float:
    """The time by the clock of a store, in seconds since 1970. Errors as of `Store`.

    Args:
        store: that `folder` is in.
        folder: where this account may write.
    """
    with probe(store, folder) as uri:
        found = store.look_up(uri)
    if found is None or not found.created:
        raise PlatformError("the store does not report when an object was written", where=folder)
    return found.created
