"""Google Cloud Storage: the gs:// half of `storage`, with checks of names and translation of the service's errors.

The client library connects to the server that STORAGE_EMULATOR_HOST names, if it is set. Its import takes half a
second, so `storage` imports this module only for gs:// URIs.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from google.api_core import exceptions as api
from google.cloud import storage as gcs
from google.cloud.storage.fileio import BlobReader  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

from headrace.core.cloud import errors
from headrace.core.errors import UsageError
from headrace.core.storage.object_glob import translate

# Size of read-ahead in bytes, so that a small read is not a request of its own.
_CHUNK = 8 << 20
_UPLOADS_AT_ONCE = 8
# Marks a folder whose upload was killed: a store cannot swap folders, so some objects may be old ones, or missing.
UNFINISHED = ".headrace-unfinished"
_RETRY_SECONDS = 60.0
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_GLOB = re.compile(r"[*?\[]")

# Clients, by the server and the process that they belong to.
_CLIENTS: dict[tuple[str | None, int], Any] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Object:
    """An object in a bucket: name, size, the checksum that the service stores, and when it was created, since 1970."""

    bucket: str
    name: str
    bytes: int
    crc32c: str
    created: float = 0.0

    @property
    def uri(self) -> str:
        """gs://bucket/name."""
        return f"gs://{self.bucket}/{self.name}"


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


def exists(uri: str) -> bool:
    """Whether an object of this name exists, or any below it."""
    bucket, name = parse(uri)
    return look_up(uri) is not None or bool(_list(uri, bucket, _below(name), limit=1))


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
    blob = look_up(uri)
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


def upload_tree(folder: Path, uri: str, last: str) -> None:
    """Replaces the objects below `uri` by the files of a local folder.

    Everything is uploaded next to `uri` first: a failed upload changes nothing. Then it is copied within the store.
    Readers look for the file `last`: an earlier one is removed before the first copy, and the new one is written last.
    """
    bucket, name = parse(uri)
    prefix = _below(name)
    staging = f"{prefix.rstrip('/')}.{secrets.token_hex(8)}.uploading/"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def at(below: str, file: str) -> str:
        return f"gs://{bucket}/{below}{file}"

    try:
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            list(pool.map(lambda file: upload(folder / file, at(staging, file)), files))
            earlier = {found.name for found in _list(uri, bucket, prefix)}
            with unfinished(uri):
                if prefix + last in earlier:
                    remove([at(prefix, last)])
                others = [file for file in files if file != last]
                list(pool.map(lambda file: copy(at(staging, file), at(prefix, file)), others))
                kept = {prefix + file for file in [*files, last, UNFINISHED]}
                remove([f"gs://{bucket}/{old}" for old in sorted(earlier - kept)])
                if last in files:
                    copy(at(staging, last), at(prefix, last))
    finally:
        remove([found.uri for found in _list(uri, bucket, staging)])


@contextmanager
def unfinished(uri: str) -> Iterator[None]:
    """Marks what is below `uri` as unfinished, so that another attempt may replace it if the block fails."""
    mark = f"{uri.rstrip('/')}/{UNFINISHED}"
    write_bytes(mark, b"")
    yield
    remove([mark])


def names_below(uri: str) -> set[str]:
    """The names directly below `uri`; none where it is marked as unfinished."""
    bucket, name = parse(uri)
    prefix = _below(name)
    names = {found.name.removeprefix(prefix).partition("/")[0] for found in _list(uri, bucket, prefix)} - {""}
    return set() if UNFINISHED in names else names


def download_tree(uri: str, folder: Path) -> int:
    """Copies all objects below `uri` into a local folder, and verifies each against the service's checksum.

    Returns:
        The number of objects.

    Raises:
        UsageError: an object's name would lead out of the folder.
    """
    bucket, name = parse(uri)
    prefix = _below(name)
    files = {o.uri: path_below(prefix, o) for o in _list(uri, bucket, prefix) if not o.name.endswith("/")}

    def download(source: str) -> None:
        target = folder / files[source]
        target.parent.mkdir(parents=True, exist_ok=True)
        with translate_errors(source):
            blob_of(source).download_to_filename(str(target), checksum="crc32c", retry=retry_policy())

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        list(pool.map(download, files))
    return len(files)


def path_below(prefix: str, found: Object) -> str:
    """The relative path of an object in a folder for `prefix`.

    Raises:
        UsageError: its name would lead out of the folder, or is not a path of a file.
    """
    path = found.name.removeprefix(prefix)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise UsageError("the object name is not a path of a file", where=found.uri)
    return path


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


def below(uri: str) -> list[Object]:
    """All objects below `uri`, sorted by name."""
    bucket, name = parse(uri)
    return _list(uri, bucket, _below(name))


def describe(uri: str) -> Object:
    """An object's size and checksum. Raises FileNotFoundError where it does not exist."""
    blob = look_up(uri)
    if blob is None:
        raise FileNotFoundError(2, "the object does not exist", uri)
    return _object(blob)


def find(uri: str) -> tuple[list[Object], bool]:
    """The objects that `uri` names, sorted, and whether it names a single object.

    They are the object itself, the objects directly below it, or those that match a glob: `*` and `?` stop at a slash,
    `**` does not.
    """
    bucket, name = parse(uri)
    if not _GLOB.search(name):
        blob = look_up(uri) if name and not name.endswith("/") else None
        if blob is not None:
            return [_object(blob)], True
        prefix = _below(name)
        return [o for o in _list(uri, bucket, prefix, delimiter="/") if o.name != prefix], False
    fixed = name[: next(_GLOB.finditer(name)).start()]
    pattern = re.compile(translate(name))
    return [o for o in _list(uri, bucket, fixed) if pattern.fullmatch(o.name)], False


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Translates errors of the service and of the network.

    Raises:
        FileNotFoundError: the bucket exists, but the object does not.
        UsageError: the bucket does not exist, no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not respond in time.
    """
    try:
        with errors.translate_errors("Cloud Storage", uri, "the role Storage Object User on the bucket"):
            yield
    except api.NotFound as error:
        _check_bucket(uri)
        raise FileNotFoundError(2, "the object does not exist", uri) from error


def _check_bucket(uri: str) -> None:
    bucket, _ = parse(uri)
    try:
        there = _client().bucket(bucket).exists(retry=retry_policy())
    except api.GoogleAPICallError:
        # An account that may read objects may still not be allowed to look up the bucket.
        there = True
    if not there:
        raise UsageError("the bucket does not exist", where=uri, expected="a bucket that exists", received=bucket)


def look_up(uri: str) -> Any:
    """Looks up an object with its metadata; None if it does not exist."""
    bucket, name = parse(uri)
    if not name:
        return None
    with translate_errors(uri):
        return _client().bucket(bucket).get_blob(name, retry=retry_policy())


def _list(uri: str, bucket: str, prefix: str, delimiter: str | None = None, limit: int | None = None) -> list[Object]:
    try:
        with translate_errors(uri):
            found = _client().list_blobs(
                bucket, prefix=prefix or None, delimiter=delimiter, max_results=limit, retry=retry_policy()
            )
            return sorted((_object(blob) for blob in found), key=lambda found: found.name)
    except FileNotFoundError as error:
        # A listing is "not found" only where the bucket does not exist.
        raise UsageError("the bucket does not exist", where=uri, received=bucket) from error


def _object(blob: Any) -> Object:
    created = 0.0 if blob.time_created is None else blob.time_created.timestamp()
    return Object(blob.bucket.name, blob.name, int(blob.size or 0), str(blob.crc32c), created)


def blob_of(uri: str) -> Any:
    """The client library's object of a name, without a request."""
    bucket, name = parse(uri)
    if not name:
        raise UsageError("the object name is missing", where=uri, expected="gs://BUCKET/NAME")
    return _client().bucket(bucket).blob(name)


def _below(name: str) -> str:
    return f"{name.rstrip('/')}/" if name else ""


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
