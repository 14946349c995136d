"""Amazon S3 and stores of its protocol, such as MinIO: the s3:// half of `remote`, by s3fs.

The endpoint, the region and the credentials come from where AWS's own tools look for them, at the first request:
AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE with its files, or the identity
of the pod or the machine. They are in no URI, no spec and no log.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File

from headrace.core.errors import UsageError
from headrace.core.storage.remote.s3_errors import (
    ConditionFailed,
    changed_while_read,
    error_of_response,
    not_found,
    not_of_a_store,
    translate_errors,
)
from headrace.core.storage.remote.store import StoredObject

# Size of read-ahead, of a part of an upload, and of a copy, in bytes.
_CHUNK = 8 << 20
_PART = 16 << 20
_COPY_PART = 128 << 20
# Above, a copy is made of parts, each of which is answered in time.
_LARGEST_COPY = 512 << 20
_PARTS_AT_ONCE = 4
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 5
# Maximum of the service for a listing and for a removal.
_PAGE = 1000
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SETTINGS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
)

# Connections, by the settings and the process that they belong to.
_FILE_SYSTEMS: dict[tuple[str | int | None, ...], Any] = {}
_LOCK = threading.Lock()


def parse(uri: str) -> tuple[str, str]:
    """Splits s3://bucket/name into bucket and object name; the name is "" for the bucket itself.

    Raises:
        UsageError: the service does not allow the bucket's or the object's name.
    """
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise UsageError(
            "the URI must not contain credentials",
            where="s3://***@...",
            expected="s3://BUCKET/NAME",
            fix="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            "the bucket name is not valid",
            where=uri,
            expected="s3://BUCKET/NAME, the bucket in 3 to 63 of a-z, 0-9, dots and dashes",
            received=repr(bucket),
            fix="Set the host of the store by AWS_ENDPOINT_URL" if ":" in bucket else None,
        )
    wrong = not name.isprintable() or len(name.encode("utf-8", "replace")) > 1024 or name.startswith("/")
    # S3 takes them, but proxies and clients resolve them as paths; the library takes the text for a version.
    if wrong or not {".", ".."}.isdisjoint(name.split("/")) or "?versionId=" in name:
        raise UsageError(
            "the object name is not valid",
            where=uri,
            expected='1 to 1024 bytes of UTF-8 on one line, without "." and ".." as folders and without "?versionId="',
            received=repr(name),
        )
    return bucket, name


def look_up(uri: str) -> StoredObject | None:
    """Looks up an object; None if it does not exist."""
    bucket, name = parse(uri)
    if not name:
        return None
    try:
        found = call("head_object", uri)
    except FileNotFoundError:
        return None
    return StoredObject(
        "s3://", bucket, name, int(found.get("ContentLength", 0)), _checked_etag(uri, found), _time(found)
    )


def list_objects(uri: str, prefix: str, *, direct: bool = False, limit: int | None = None) -> list[StoredObject]:
    """See `Store`."""
    bucket, _ = parse(uri)
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": _PAGE if limit is None else limit}
    if direct:
        request["Delimiter"] = "/"
    objects: list[StoredObject] = []
    with translate_errors(uri):
        while True:
            page = _file_system().call_s3("list_objects_v2", **request)
            contents = page.get("Contents", [])
            objects += [
                StoredObject("s3://", bucket, each["Key"], int(each["Size"]), _etag(each), _time(each))
                for each in contents
            ]
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token or (limit is not None and len(objects) >= limit):
                return sorted(objects, key=lambda found: found.name)
            request["ContinuationToken"] = token


def read_bytes(uri: str) -> bytes:
    """The whole content of an object. Raises FileNotFoundError where it does not exist."""
    return get(uri)[0]


def get(uri: str) -> tuple[bytes, str, dict[str, str]]:
    """The content of an object, its ETag and its metadata, of one answer.

    Raises:
        FileNotFoundError: it does not exist.
    """
    _name(uri)
    files = _file_system()
    bucket, name = parse(uri)
    with translate_errors(uri):
        return cast(tuple[bytes, str, dict[str, str]], sync(files.loop, _get, uri, files, bucket, name))


async def _get(uri: str, files: Any, bucket: str, name: str) -> tuple[bytes, str, dict[str, str]]:
    response = await files._call_s3("get_object", Bucket=bucket, Key=name)
    async with response["Body"] as body:
        content = await body.read()
    return content, _checked_etag(uri, response), response.get("Metadata") or {}


def write_bytes(uri: str, content: bytes) -> None:
    """Writes an object atomically: the service shows it only when it is complete."""
    with translate_errors(uri):
        answer = _file_system().pipe_file(
            _path(uri),
            content,
            chunksize=_PART,
            max_concurrency=_PARTS_AT_ONCE,
            ContentType="application/octet-stream",
        )
    # Of an upload in parts there is no answer here; an answer to one of its requests that is no XML is an error.
    if answer is not None:
        _checked_etag(uri, answer)


def open_input(uri: str) -> BinaryIO:
    """Opens an object as a seekable binary file. Raises FileNotFoundError where it does not exist."""
    if look_up(uri) is None:
        raise not_found(uri)
    with translate_errors(uri):
        return cast(BinaryIO, _Reader(_file_system(), _path(uri), uri))


class _Reader(S3File):
    """A seekable file that reads one version of an object, and translates the service's errors."""

    def __init__(self, files: Any, path: str, uri: str) -> None:
        self._uri = uri
        super().__init__(files, path, "rb", block_size=_CHUNK, cache_type="readahead")

    def _fetch_range(self, start: int, end: int) -> bytes:
        try:
            with translate_errors(self._uri):
                content: bytes = super()._fetch_range(start, end)
                return content
        except ConditionFailed as error:
            raise changed_while_read(self._uri) from error


def upload(source: Path, uri: str) -> None:
    """Copies a local file to an object, in parts if it is large."""
    with translate_errors(uri):
        _file_system().put_file(
            str(source),
            _path(uri),
            chunksize=_PART,
            max_concurrency=_PARTS_AT_ONCE,
            ContentType="application/octet-stream",
        )


def download(uri: str, target: Path) -> None:
    """Copies an object to a local file. Raises FileNotFoundError where it does not exist."""
    # The library's own download takes the parts of a large object from any version of it.
    with open_input(uri) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)


def copy(source: str, target: str) -> None:
    """Copies an object within the service. Raises FileNotFoundError where it does not exist."""
    found = look_up(source)
    if found is None:
        raise not_found(source)
    if found.bytes <= _LARGEST_COPY:
        call("copy_object", target, CopySource={"Bucket": found.bucket, "Key": found.name})
        return
    files = _file_system()
    with translate_errors(source):
        sync(files.loop, files._copy_managed, _path(source), _path(target), found.bytes, _COPY_PART)


def remove(uris: Sequence[str]) -> None:
    """Removes objects; a missing one is not an error."""
    for bucket in sorted({parse(uri)[0] for uri in uris}):
        names = [_name(uri) for uri in uris if parse(uri)[0] == bucket]
        for begin in range(0, len(names), _PAGE):
            keys = [{"Key": name} for name in names[begin : begin + _PAGE]]
            where = f"s3://{bucket}/{keys[0]['Key']}"
            with translate_errors(where):
                answer = _file_system().call_s3(
                    "delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
                )
            # The answer has the status 200 also where objects were not removed.
            for error in answer.get("Errors", []):
                raise error_of_response(f"s3://{bucket}/{error.get('Key', '')}", error, 0)


def call(method: str, uri: str, **arguments: Any) -> dict[str, Any]:
    """Calls a method of the client for an object.

    Args:
        method: of botocore's client for S3, such as head_object.
        uri: of the object.
        arguments: of the method, besides Bucket and Key.
    """
    bucket, name = parse(uri)
    _name(uri)
    with translate_errors(uri):
        answer: dict[str, Any] = _file_system().call_s3(method, Bucket=bucket, Key=name, **arguments)
        return answer


def conditional_buckets() -> set[str]:
    """Buckets of the current connection of which it is known that they honour conditions; to be added to."""
    return cast(set[str], _file_system().conditional_buckets)


def _file_system() -> Any:
    """The cached connections of the current settings; a forked process gets its own."""
    # What identifies the store, the account and this process; never to be printed.
    key = (*(os.environ.get(name) for name in _SETTINGS), os.getpid())
    with _LOCK:
        if key not in _FILE_SYSTEMS:
            files = S3FileSystem(
                # Another process may have written since.
                use_listings_cache=False,
                skip_instance_cache=True,
                config_kwargs={
                    "connect_timeout": _CONNECT_SECONDS,
                    "read_timeout": _READ_SECONDS,
                    "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
                },
            )
            # These retries are in addition to those of the client, for answers that break off.
            files.retries = 2
            files.conditional_buckets = set()
            _connect(files)
            _FILE_SYSTEMS[key] = files
        return _FILE_SYSTEMS[key]


def _connect(files: Any) -> None:
    try:
        with translate_errors("the client of S3"):
            files.connect()
    except ValueError as error:
        raise UsageError(
            "the endpoint or the region of S3 is not valid",
            where="AWS_ENDPOINT_URL, AWS_REGION or the file ~/.aws/config",
            expected="such as AWS_ENDPOINT_URL=http://minio-service.kubeflow:9000",
            received=str(error),
        ) from error


def _path(uri: str) -> str:
    bucket, _ = parse(uri)
    return f"{bucket}/{_name(uri)}"


def _name(uri: str) -> str:
    _, name = parse(uri)
    if not name:
        raise UsageError("the object name is missing", where=uri, expected="s3://BUCKET/NAME")
    return name


def _etag(found: Any) -> str:
    return str(found.get("ETag", "")).strip('"')


def _checked_etag(uri: str, found: Any) -> str:
    """The ETag, which each answer of a store has.

    Raises:
        PlatformError: it has none.
    """
    etag = _etag(found)
    if not etag:
        raise not_of_a_store(uri)
    return etag


def close() -> None:
    """Closes the cached connections; the next call opens new ones."""
    with _LOCK:
        for files in list(_FILE_SYSTEMS.values()):
            sync(files.loop, files._s3creator.__aexit__, None, None, None, timeout=10)
        _FILE_SYSTEMS.clear()


def _time(found: Any) -> float:
    written = found.get("LastModified")
    return 0.0 if written is None else float(written.timestamp())
