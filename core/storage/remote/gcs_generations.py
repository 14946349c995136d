"""Conditional writes to Cloud Storage, by the generation of an object.

An answer can be lost: the service wrote the object, the connection broke, and the repeated request is refused because
the generation has changed - by this very write. So each write stores an id of its own in the object's metadata, with
those of the writes before it: a refused writer that finds its id there has succeeded, also if others wrote since.
"""

from __future__ import annotations

import secrets
from typing import Any

from google.api_core import exceptions as api
from google.resumable_media import common as media

from headrace.core.errors import PlatformError
from headrace.core.storage.remote import gcs

_WRITES = "headrace-writes"
# Metadata of an object has at most 8 KiB; an id is 16 characters and a space.
_REMEMBERED_WRITES = 64
_ATTEMPTS = 20
_ABSENT = "0"


def read(uri: str) -> tuple[bytes, str] | None:
    """The content of an object and its token; None where it does not exist.

    Raises:
        UsageError: the bucket does not exist, or access is denied.
        PlatformError: the service failed, or the object was replaced or did not arrive whole in every attempt.
    """
    for _ in range(_ATTEMPTS):
        found = gcs.stored(uri)
        if found is None:
            return None
        try:
            with gcs.translate_errors(uri):
                content = _download(found)
        except FileNotFoundError:
            continue
        if content is None:
            continue
        return content, f"{found.generation} {_writes(found)}"
    raise PlatformError(
        "the object was replaced, or did not arrive whole, in every attempt", where=uri, fix="Try again"
    )


def write(uri: str, content: bytes, token: str | None = None) -> bool:
    """Writes an object if its token is still `token`; with None, if it does not exist.

    Returns:
        Whether it was written.

    Raises:
        UsageError: the bucket does not exist, or access is denied.
        PlatformError: the service failed; whether the object was written is not known.
    """
    generation, _, earlier = (token or _ABSENT).partition(" ")
    own = secrets.token_hex(8)
    target = gcs.blob_of(uri)
    target.metadata = {_WRITES: " ".join([own, *earlier.split()][:_REMEMBERED_WRITES])}
    with gcs.translate_errors(uri):
        try:
            target.upload_from_string(
                content,
                "application/octet-stream",
                checksum="crc32c",
                retry=gcs.retry_policy(),
                if_generation_match=int(generation),
            )
        except api.PreconditionFailed:
            found = gcs.stored(uri)
            return found is not None and own in _writes(found).split()
    return True


def _download(found: Any) -> bytes | None:
    """The content of the generation that was looked up; None if it is not what its checksum says."""
    try:
        content: bytes = found.download_as_bytes(retry=gcs.retry_policy())
    except media.DataCorruption:
        return None
    return content


def _writes(found: Any) -> str:
    return str((found.metadata or {}).get(_WRITES, ""))
