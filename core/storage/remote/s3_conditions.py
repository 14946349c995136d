"""Conditional writes to S3, by If-Match and If-None-Match.

As on gs://, an answer can be lost, and the repeated request is then refused because of the first one. So each write
stores an id of its own in the object's metadata, with those of the writes before it: a refused writer that finds its id
there has succeeded, also if others wrote since.

S3 compares ETags, and an ETag is a digest of the content: an object that was changed and changed back has its old one.
So the last line of each replacement ends with its id, as white space that `read` removes, and no ETag is there twice.

A store may ignore the conditions: Amazon has them since 2024, and MinIO as long. There a conditional write overwrites
what it must not. So before its first conditional write to a bucket, each process writes a probe, whose overwriting must
be refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy, retry
from headrace.core.storage.remote import s3
from headrace.core.storage.remote.probes import probe
from headrace.core.storage.remote.s3_errors import ConditionConflict, ConditionFailed

_WRITES = "headrace-writes"
# The number of bytes at the end of the object's last line that are not its content: one for each bit of an id.
_ENDING = "headrace-ending"
_ENDING_BYTES = 64
# Metadata of an object has at most 2 KB; an id is 16 characters and a space.
_REMEMBERED_WRITES = 64
_CONFLICTS = RetryPolicy(first_s=0.05, max_s=2.0, total_s=60.0)
_NO_ETAG = "0" * 32
_AS_WHITE_SPACE = str.maketrans("01", " \t")


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
    if metadata.get(_ENDING) == str(_ENDING_BYTES):
        text, newline = _last_line(content)
        content = text[:-_ENDING_BYTES] + newline
    return content, f"{etag} {metadata.get(_WRITES, '')}"


def write(uri: str, content: bytes, token: str | None = None) -> bool:
    """Writes an object if its token is still `token`; with None, if it does not exist.

    Returns:
        Whether it was written.

    Raises:
        UsageError: the bucket does not exist, access is denied, or the store ignores conditions.
        PlatformError: the service failed; whether the object was written is not known.
    """
    _check_conditions(uri)
    own = secrets.token_hex(8)
    if token is None:
        return _put(uri, content, {_WRITES: own}, {"IfNoneMatch": "*"})
    etag, _, earlier = token.partition(" ")
    text, newline = _last_line(content)
    ending = f"{int(own, 16):0{_ENDING_BYTES}b}".translate(_AS_WHITE_SPACE).encode()
    metadata = {
        _WRITES: " ".join([own, *earlier.split()][:_REMEMBERED_WRITES]),
        _ENDING: str(_ENDING_BYTES),
    }
    return _put(uri, text + ending + newline, metadata, {"IfMatch": f'"{etag}"'})


def _last_line(content: bytes) -> tuple[bytes, bytes]:
    """Splits content into what is before the newline at its end, and the newline, which may be missing."""
    text = content.removesuffix(b"\n")
    return text, content[len(text) :]


def _put(uri: str, content: bytes, metadata: Mapping[str, str], condition: Mapping[str, str]) -> bool:
    try:
        _request(uri, content, metadata, condition)
    except (ConditionFailed, FileNotFoundError):
        return metadata[_WRITES].split()[0] in _writes(uri)
    return True


def _request(uri: str, content: bytes, metadata: Mapping[str, str], condition: Mapping[str, str]) -> None:
    def attempt() -> None:
        s3.call(
            "put_object",
            uri,
            Body=content,
            Metadata=dict(metadata),
            ContentType="application/octet-stream",
            **condition,
        )

    retry(attempt, _CONFLICTS, transient=(ConditionConflict,))


def _writes(uri: str) -> list[str]:
    try:
        found: dict[str, Any] = s3.call("head_object", uri)
    except FileNotFoundError:
        return []
    return str((found.get("Metadata") or {}).get(_WRITES, "")).split()


def _check_conditions(uri: str) -> None:
    """Checks, once for a connection and a bucket, that the store refuses to overwrite a probe next to `uri`.

    Raises:
        UsageError: it ignores a condition.
    """
    checked, bucket = s3.conditional_buckets(), s3.parse(uri)[0]
    if bucket in checked:
        return
    with probe(s3, uri.rpartition("/")[0]) as own:
        for header, condition in (
            ("If-None-Match", {"IfNoneMatch": "*"}),
            ("If-Match", {"IfMatch": f'"{_NO_ETAG}"'}),
        ):
            try:
                _request(own, b"", {}, condition)
            except ConditionFailed:
                continue
            raise UsageError(
                "the store ignores conditional writes",
                where=uri,
                expected=f"a store that honours {header} on PUT, as Amazon S3 and MinIO do",
                received=f"a new object of headrace's own, {own}, was overwritten in spite of {header}",
                fix="Nothing else was written. Update the store, or store registries and ledgers on a disk or on gs://",
            )
    checked.add(bucket)
