"""Conditional writes to S3, by If-Match and If-None-Match.

As on gs://, an answer can be lost, and the repeated request is then refused because of the first one. So each write
stores an id of its own in the object's metadata, with those of the writes before it: a refused writer that finds its id
there has succeeded, also if others wrote since.

A store may ignore the conditions: Amazon has them since 2024, and MinIO as long. There two writers would both succeed,
and one change would be lost without a word. So each process first makes two requests that must be refused.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy, retry
from headrace.core.storage.remote import s3
from headrace.core.storage.remote.s3_errors import ConditionConflict, ConditionFailed

_WRITES = "headrace-writes"
# Metadata of an object has at most 2 KB; an id is 16 characters and a space.
_REMEMBERED_WRITES = 64
_CONFLICTS = RetryPolicy(first_s=0.05, max_s=2.0, total_s=60.0)
_NO_ETAG = "0" * 32

# Stores and buckets, of which it is known that they honour conditions.
_CHECKED: set[tuple[str | int | None, ...]] = set()
_LOCK = threading.Lock()


def read(uri: str) -> tuple[bytes, str] | None:
    """The content of an object and its token; None where it does not exist.

    Raises:
        UsageError: the bucket does not exist, or access is denied.
        PlatformError: the service failed.
    """
    try:
        content, etag, metadata = s3.get(uri)
    except FileNotFoundError:
        return None
    return content, f"{etag} {metadata.get(_WRITES, '')}"


def write(uri: str, content: bytes, token: str | None = None) -> bool:
    """Writes an object if its token is still `token`; with None, if it does not exist.

    Returns:
        Whether it was written.

    Raises:
        UsageError: the bucket does not exist, access is denied, or the store ignores conditions.
        PlatformError: the service failed; whether the object was written is not known.
    """
    if token is None:
        written = _put(uri, content, "", {"IfNoneMatch": "*"})
        if written:
            _check_conditions(uri)
        return written
    _check_conditions(uri)
    etag, _, earlier = token.partition(" ")
    return _put(uri, content, earlier, {"IfMatch": f'"{etag}"'})


def _put(uri: str, content: bytes, earlier: str, condition: Mapping[str, str]) -> bool:
    own = secrets.token_hex(8)
    metadata = {_WRITES: " ".join([own, *earlier.split()][:_REMEMBERED_WRITES])}
    try:
        retry(lambda: _request(uri, content, metadata, condition), _CONFLICTS, transient=(ConditionConflict,))
    except (ConditionFailed, FileNotFoundError):
        return own in _writes(uri)
    return True


def _request(uri: str, content: bytes, metadata: Mapping[str, str], condition: Mapping[str, str]) -> None:
    s3.call(
        "put_object",
        uri,
        Body=content,
        Metadata=dict(metadata),
        ContentType="application/octet-stream",
        **condition,
    )


def _writes(uri: str) -> list[str]:
    try:
        found: dict[str, Any] = s3.call("head_object", uri)
    except FileNotFoundError:
        return []
    return str((found.get("Metadata") or {}).get(_WRITES, "")).split()


def _check_conditions(uri: str) -> None:
    """Checks, once in a process, that the bucket honours conditions: it must refuse to write what is there anyway.

    Raises:
        UsageError: it ignores them.
    """
    key = (*s3.settings(), s3.parse(uri)[0])
    with _LOCK:
        if key in _CHECKED:
            return
    try:
        content, _, metadata = s3.get(uri)
    except FileNotFoundError:
        # Somebody removed it: the next call checks.
        return
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{_NO_ETAG}"'}):
        try:
            retry(
                lambda condition=condition: _request(uri, content, metadata, condition),  # type: ignore[misc]
                _CONFLICTS,
                transient=(ConditionConflict,),
            )
        except (ConditionFailed, FileNotFoundError):
            continue
        header = "If-None-Match" if "IfNoneMatch" in condition else "If-Match"
        raise UsageError(
            "the store ignores conditional writes",
            where=uri,
            expected=f"a store that honours {header} on PUT, as Amazon S3 and MinIO do",
            received="a write that had to be refused was made",
            fix="Update the store; or store registries, endpoints and ledgers on a disk or on gs://",
        )
    with _LOCK:
        _CHECKED.add(key)
