"""Google Cloud Storage: the gs:// half of `remote`, with checks of names and translation of the service's errors.

The client library connects to the server that STORAGE_EMULATOR_HOST names, if it is set. Its import takes half a
second, so `store_of` imports this module only for gs:// URIs.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from google.api_core import exceptions as api
from google.cloud import storage as gcs
from google.cloud.storage.fileio import BlobReader  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
from google.resumable_media import common as media

from headrace.core.cloud import errors
from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage.remote.store import StoredObject

# Size of read-ahead in bytes, so that a small read is not a request of its own.
_CHUNK = 8 << 20
_RETRY_SECONDS = 60.0
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

# Clients, by the server and the process that they belong to.
_CLIENTS: dict[tuple[str | None, int], Any] = {}
_LOCK = threading.Lock()


def parse(uri: str) -> tuple[str, str]:
    """Splits gs://bucket/name into bucket and object name; the name is "" for the bucket itself.

    Raises:
        UsageError: the service does not allow the bucket's or the object's name.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            "the bucket name is not valid",
            where=uri,
            expected="gs://BUCKET/NAME, the bucket in 3 to 222 of a-z, 0-9, dots, dashes and underscores",
            received=repr(bucket),
        )
    wrong = not name.isprintable() or len(name.encode("utf-8", "replace")) > 1024 or name in (".", "..")
    if wrong or name.startswith(("/", ".well-known/acme-challenge/")):
        raise UsageError(
            "the object name is not valid",
            where=uri,
            expected="1 to 1024 bytes of UTF-8 on one line",
            received=repr(name),
        )
    return bucket, name


def read_bytes(uri: str) -> bytes:
    """The whole content of an object. Raises FileNotFoundError where it does not exist."""
    with translate_errors(uri):
        return cast(bytes, blob_of(uri).download_as_bytes(retry=retry_policy()))


def write_bytes(uri: str, content: bytes) -> None:
    """Writes an object atomically: the service shows it only when it is complete."""
    with translate_errors(uri):
        blob_of(uri).upload_from_string(content, "application/octet-stream", checksum="crc32c", retry=retry_policy())


def open_input(uri: str) -> BinaryIO:
    """Opens an object as a seekable binary file. Raises FileNotFoundError where it does not exist."""
    blob = stored(uri)
    if blob is None:
        raise FileNotFoundError(2, "the object does not exist", uri)
    return cast(BinaryIO, _Reader(uri, blob))


class _Reader(BlobReader):
    """A seekable file whose reads translate the service's errors, as any request does."""

    def __init__(self, uri: str, blob: Any) -> None:
        super().__init__(blob, chunk_size=_CHUNK, retry=retry_policy())
        self._uri = uri

    def read(self, size: int = -1) -> bytes:
        with translate_errors(self._uri):
            content: bytes = super().read(size)
            return content


def upload(source: Path, uri: str) -> None:
    """Copies a local file to an object."""
    with translate_errors(uri):
        blob_of(uri).upload_from_filename(
            str(source), "application/octet-stream", checksum="crc32c", retry=retry_policy()
        )


def download(uri: str, target: Path) -> None:
    """Copies an object to a local file, and verifies it against the service's checksum."""
    with translate_errors(uri):
        blob_of(uri).download_to_filename(str(target), checksum="crc32c", retry=retry_policy())


def copy(source: str, target: str) -> None:
    """Copies an object within the service. Raises FileNotFoundError where it does not exist."""
    with translate_errors(source):
        blob = blob_of(target)
        token, _, _ = blob.rewrite(blob_of(source), retry=retry_policy())
        # Copying a large object to another storage class or location needs several calls.
        while token is not None:
            token, _, _ = blob.rewrite(blob_of(source), token=token, retry=retry_policy())


def remove(uris: Sequence[str]) -> None:
    """Removes objects; a missing one is not an error."""
    for uri in uris:
        with translate_errors(uri):
            try:
                blob_of(uri).delete(retry=retry_policy())
            except api.NotFound:
                continue


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Translates errors of the service and of the network.

    Raises:
        FileNotFoundError: the bucket exists, but the object does not.
        UsageError: the bucket does not exist, no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not respond in time.
    """
    try:
        with errors.translate_errors("Cloud Storage", uri, "roles/storage.objectUser"):
            yield
    except api.NotFound as error:
        _check_bucket(uri)
        raise FileNotFoundError(2, "the object does not exist", uri) from error
    except media.DataCorruption as error:
        raise PlatformError(
            "Cloud Storage failed or did not respond", where=uri, received=errors.message_of(error)
        ) from error


def _check_bucket(uri: str) -> None:
    bucket, _ = parse(uri)
    try:
        there = _client().bucket(bucket).exists(retry=retry_policy())
    except api.GoogleAPICallError:
        # An account that may read objects may still not be allowed to look up the bucket.
        there = True
    if not there:
        raise UsageError("the bucket does not exist", where=uri, expected="a bucket that exists", received=bucket)


def look_up(uri: str) -> StoredObject | None:
    """Looks up an object; None if it does not exist."""
    blob = stored(uri)
    return None if blob is None else _object(blob)


def stored(uri: str) -> Any:
    """The client library's object with its metadata; None if it does not exist."""
    bucket, name = parse(uri)
    if not name:
        return None
    with translate_errors(uri):
        return _client().bucket(bucket).get_blob(name, retry=retry_policy())


def list_objects(uri: str, prefix: str, *, direct: bool = False, limit: int | None = None) -> list[StoredObject]:
    """See `Store`."""
    bucket, _ = parse(uri)
    try:
        with translate_errors(uri):
            found = _client().list_blobs(
                bucket,
                prefix=prefix or None,
                delimiter="/" if direct else None,
                max_results=limit,
                retry=retry_policy(),
            )
            return sorted((_object(blob) for blob in found), key=lambda found: found.name)
    except FileNotFoundError as error:
        # A listing is "not found" only where the bucket does not exist.
        raise UsageError("the bucket does not exist", where=uri, received=bucket) from error


def _object(blob: Any) -> StoredObject:
    created = 0.0 if blob.time_created is None else blob.time_created.timestamp()
    return StoredObject("gs://", blob.bucket.name, blob.name, int(blob.size or 0), str(blob.crc32c), created)


def blob_of(uri: str) -> Any:
    """The client library's object of a name, without a request."""
    bucket, name = parse(uri)
    if not name:
        raise UsageError("the object name is missing", where=uri, expected="gs://BUCKET/NAME")
    return _client().bucket(bucket).blob(name)


def retry_policy() -> Any:
    """The client library's retries of a request, bounded in time."""
    return DEFAULT_RETRY.with_timeout(_RETRY_SECONDS)


def _client() -> Any:
    """The cached client of the current server; a forked process gets its own."""
    key = (os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())
    with _LOCK:
        if key not in _CLIENTS:
            _CLIENTS[key] = gcs.Client(project=None)
        return _CLIENTS[key]


def close() -> None:
    """Closes the cached connections; the next call opens new ones."""
    with _LOCK:
        for _, client in list(_CLIENTS.items()):
            client.close()
        _CLIENTS.clear()
