"""Files in Google Cloud Storage, for `storage`: names checked, what the service says turned into our errors.

By google-cloud-storage, which gives each object's size and CRC-32C without reading it, and which goes to the server
that STORAGE_EMULATOR_HOST names, where it is set. It takes half a second to import, so `storage` imports this module
only when a gs:// name comes.
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

# Reads go ahead by this many bytes, so that a small read is not a request of its own.
_CHUNK = 8 << 20
_UPLOADS_AT_ONCE = 8
# In a folder whose upload was killed: a store cannot swap folders, so some of its objects may be old ones, or missing.
UNFINISHED = ".headrace-unfinished"
_RETRY_SECONDS = 60.0
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_GLOB = re.compile(r"[*?\[]")

# Connections, by the server and the process that they belong to.
_CLIENTS: dict[tuple[str | None, int], Any] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Object:
    """A file in a bucket: its name, its size and the checksum that the service keeps of it."""

    bucket: str
    name: str
    bytes: int
    crc32c: str

    @property
    def uri(self) -> str:
        """As gs://bucket/name."""
        return f"gs://{self.bucket}/{self.name}"


def parse(uri: str) -> tuple[str, str]:
    """Bucket and object name of gs://bucket/name; the name is "" for the bucket itself.

    Raises:
        UsageError: the bucket's or the object's name is not one that the service allows.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            "the bucket's name is wrong",
            where=uri,
            expected="gs://BUCKET/NAME, the bucket in 3 to 222 of a-z, 0-9, dots, dashes and underscores",
            received=repr(bucket),
        )
    wrong = not name.isprintable() or len(name.encode("utf-8", "replace")) > 1024 or name in (".", "..")
    if wrong or name.startswith(("/", ".well-known/acme-challenge/")):
        raise UsageError(
            "the object's name is wrong",
            where=uri,
            expected="1 to 1024 bytes of UTF-8 on one line",
            received=repr(name),
        )
    return bucket, name


def exists(uri: str) -> bool:
    """Whether there is an object of that name, or any below it."""
    bucket, name = parse(uri)
    return _look_up(uri) is not None or bool(_list(uri, bucket, _below(name), limit=1))


def read_bytes(uri: str) -> bytes:
    """The whole content of an object. Raises FileNotFoundError where there is none."""
    with translate_errors(uri):
        content: bytes = _blob(uri).download_as_bytes(retry=_retry())
        return content


def write_bytes(uri: str, content: bytes) -> None:
    """Writes an object; the service shows it only when it is whole."""
    with translate_errors(uri):
        _blob(uri).upload_from_string(content, "application/octet-stream", checksum="crc32c", retry=_retry())


def open_input(uri: str) -> BinaryIO:
    """An object as a seekable binary file. Raises FileNotFoundError where there is none."""
    blob = _look_up(uri)
    if blob is None:
        raise FileNotFoundError(2, "there is no such object", uri)
    return cast(BinaryIO, _Reader(uri, blob))


class _Reader(BlobReader):
    """A seekable file of which each read may fail as any request may."""

    def __init__(self, uri: str, blob: Any) -> None:
        super().__init__(blob, chunk_size=_CHUNK, retry=_retry())
        self._uri = uri

    def read(self, size: int = -1) -> bytes:
        with translate_errors(self._uri):
            content: bytes = super().read(size)
            return content


def upload(source: Path, uri: str) -> None:
    """Copies a local file to an object."""
    with translate_errors(uri):
        _blob(uri).upload_from_filename(str(source), "application/octet-stream", checksum="crc32c", retry=_retry())


def upload_tree(folder: Path, uri: str, last: str) -> None:
    """Makes the objects below `uri` those in a local folder, and no others.

    All is uploaded beside `uri` first: an upload that fails leaves what was there as it was. Then it is copied within
    the store. The file `last` is what readers look for: an earlier one is removed before the first copy, and the new
    one comes when all else is there.
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
    """Marks what is below `uri` as ours and unfinished, for another try to replace where this one does not end well."""
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
    """Copies all objects below `uri` into a local folder, and checks each against the checksum that the service keeps.

    Returns:
        How many there were.

    Raises:
        UsageError: an object's name would lead out of the folder.
    """
    bucket, name = parse(uri)
    prefix = _below(name)
    # Consoles make folders visible by an empty object whose name ends with a slash.
    files = {o.uri: path_below(prefix, o) for o in _list(uri, bucket, prefix) if not o.name.endswith("/")}

    def download(source: str) -> None:
        target = folder / files[source]
        target.parent.mkdir(parents=True, exist_ok=True)
        with translate_errors(source):
            _blob(source).download_to_filename(str(target), checksum="crc32c", retry=_retry())

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        list(pool.map(download, files))
    return len(files)


def path_below(prefix: str, found: Object) -> str:
    """Where an object belongs in a folder that stands for `prefix`.

    Raises:
        UsageError: its name would lead out of the folder, or to no file.
    """
    path = found.name.removeprefix(prefix)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise UsageError("the object's name is no path of a file", where=found.uri)
    return path


def copy(source: str, target: str) -> None:
    """Copies an object within the service. Raises FileNotFoundError where there is none."""
    with translate_errors(source):
        blob = _blob(target)
        token, _, _ = blob.rewrite(_blob(source), retry=_retry())
        # A large object goes to another class of storage, or another place, in several calls.
        while token is not None:
            token, _, _ = blob.rewrite(_blob(source), token=token, retry=_retry())


def remove(uris: Sequence[str]) -> None:
    """Removes objects; one that is not there is no error."""
    for uri in uris:
        with translate_errors(uri):
            try:
                _blob(uri).delete(retry=_retry())
            except api.NotFound:
                continue


def below(uri: str) -> list[Object]:
    """All objects below `uri`, sorted by name."""
    bucket, name = parse(uri)
    return _list(uri, bucket, _below(name))


def describe(uri: str) -> Object:
    """An object's size and checksum. Raises FileNotFoundError where there is none."""
    blob = _look_up(uri)
    if blob is None:
        raise FileNotFoundError(2, "there is no such object", uri)
    return _object(blob)


def find(uri: str) -> tuple[list[Object], bool]:
    """The objects that `uri` names, sorted, and whether it named one alone.

    It names itself, those directly below it, or those that match: `*` and `?` stop at a slash, `**` does not.
    """
    bucket, name = parse(uri)
    if not _GLOB.search(name):
        blob = _look_up(uri) if name and not name.endswith("/") else None
        if blob is not None:
            return [_object(blob)], True
        prefix = _below(name)
        return [o for o in _list(uri, bucket, prefix, delimiter="/") if o.name != prefix], False
    fixed = name[: next(_GLOB.finditer(name)).start()]
    pattern = re.compile(translate(name))
    return [o for o in _list(uri, bucket, fixed) if pattern.fullmatch(o.name)], False


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns what the service or the network says into one of our errors.

    Raises:
        FileNotFoundError: the object is not there, in a bucket that is.
        UsageError: no such bucket, no credentials, not allowed, or a request that is wrong.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        with errors.translate_errors("Cloud Storage", uri, "the role Storage Object User on the bucket"):
            yield
    except api.NotFound as error:
        _check_bucket(uri)
        raise FileNotFoundError(2, "there is no such object", uri) from error


def _check_bucket(uri: str) -> None:
    bucket, _ = parse(uri)
    try:
        there = _client().bucket(bucket).exists(retry=_retry())
    except api.GoogleAPICallError:
        # Whether a bucket is there may be hidden from those who may read its objects.
        there = True
    if not there:
        raise UsageError("there is no such bucket", where=uri, expected="a bucket that exists", received=bucket)


def _look_up(uri: str) -> Any:
    """The object with its metadata, or None."""
    bucket, name = parse(uri)
    if not name:
        return None
    with translate_errors(uri):
        return _client().bucket(bucket).get_blob(name, retry=_retry())


def _list(uri: str, bucket: str, prefix: str, delimiter: str | None = None, limit: int | None = None) -> list[Object]:
    try:
        with translate_errors(uri):
            found = _client().list_blobs(
                bucket, prefix=prefix or None, delimiter=delimiter, max_results=limit, retry=_retry()
            )
            return sorted((_object(blob) for blob in found), key=lambda found: found.name)
    except FileNotFoundError as error:
        # A listing finds nothing only where there is no bucket; whoever may not ask for that is told so here.
        raise UsageError("there is no such bucket", where=uri, received=bucket) from error


def _object(blob: Any) -> Object:
    return Object(blob.bucket.name, blob.name, int(blob.size or 0), str(blob.crc32c))


def _blob(uri: str) -> Any:
    bucket, name = parse(uri)
    if not name:
        raise UsageError("an object's name is missing", where=uri, expected="gs://BUCKET/NAME")
    return _client().bucket(bucket).blob(name)


def _below(name: str) -> str:
    return f"{name.rstrip('/')}/" if name else ""


def _retry() -> Any:
    return DEFAULT_RETRY.with_timeout(_RETRY_SECONDS)


def _client() -> Any:
    """The client for the server that is meant now, whose connections are kept; a forked process gets its own."""
    key = (os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())
    with _LOCK:
        if key not in _CLIENTS:
            _CLIENTS[key] = gcs.Client(project=None)
        return _CLIENTS[key]


def close() -> None:
    """Closes the connections that are kept; the next call opens new ones."""
    with _LOCK:
        for _, client in list(_CLIENTS.items()):
            client.close()
        _CLIENTS.clear()
