"""Compare-and-set of small files that several processes change: a change is made only to the content that was read.

`read_with_token`, `replace_if_unchanged` and `create_if_absent` work alike on a disk, gs:// and s3://; `update_json`
makes a change again until nobody else wrote in between. Nothing is ever deleted.

On gs:// the token is the object's generation, on s3:// its ETag, which is new with each replacement: a file that was
changed and changed back is another file there. On a disk the token is a hash of the content, and such a file counts as
unchanged. A change may thus depend on the content that was read, and on nothing else that it does not name.

On a disk files are compared and replaced under a lock that the operating system releases when its holder dies; the file
is replaced atomically and flushed to the disk, so a process that is killed at any moment leaves the old content or the
new. A bucket that is mounted as a folder is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.retry import RetryPolicy, retry
from headrace.core.storage.json_lines import json_bytes
from headrace.core.storage.lock import locked
from headrace.core.storage.mounts import mounted_bucket
from headrace.core.storage.remote import conditional_writes_of

# A separate lock: the folder's owner may hold its lock for minutes while it changes the state.
LOCK = ".state.lock"
_CONTENTION = RetryPolicy(first_s=0.05, max_s=2.0, total_s=300.0)


@dataclass(frozen=True)
class Snapshot:
    """A file as it was read.

    Attributes:
        content: of the file.
        token: changes with the content, in an object store with each write; opaque to callers.
    """

    content: bytes
    token: str


class _Overtaken(PlatformError):
    """Others changed the file during every attempt."""


def read_with_token(uri: str) -> Snapshot | None:
    """Reads a file and the token for `replace_if_unchanged`; None where it does not exist.

    Raises:
        UsageError: access is denied.
        PlatformError: the disk or the service failed.
    """
    if storage.is_remote(uri):
        found = conditional_writes_of(uri).read(uri)
        return None if found is None else Snapshot(*found)
    content = _read(storage.local_path(uri), uri)
    return None if content is None else Snapshot(content, _token(content))


def replace_if_unchanged(uri: str, content: bytes, token: str) -> bool:
    """Replaces a file, if it is still as it was when `token` was read.

    Args:
        uri: of the file.
        content: JSON, or other text to which white space at its end means nothing: on s3:// the write's id is added as
            such, which `read_with_token` removes.
        token: of `read_with_token`.

    Returns:
        Whether it was replaced. In an object store a write whose answer was lost counts as made.

    Raises:
        UsageError: the path cannot be written.
        PlatformError: the disk or the service failed; whether the file was replaced is not known.
    """
    if storage.is_remote(uri):
        return conditional_writes_of(uri).write(uri, content, token)
    return _write(uri, content, token)


def create_if_absent(uri: str, content: bytes) -> bool:
    """Creates a file, if it does not exist; returns and errors as of `replace_if_unchanged`."""
    if storage.is_remote(uri):
        return conditional_writes_of(uri).write(uri, content)
    return _write(uri, content, None)


def update_json(uri: str, change: Callable[[Any], Any], *, parse: Callable[[bytes, str], Any] | None = None) -> Any:
    """Changes a JSON file, again from its new content whenever somebody else wrote in between.

    Args:
        uri: of the file.
        change: from the present value, None where the file does not exist, to the new one; it may be called several
            times. Returning an equal value writes nothing.
        parse: from the content of the file and its URI to the JSON value; None for `json_of`.

    Returns:
        The value that the file holds now.

    Raises:
        DataError: the file is not JSON.
        UsageError: the path cannot be written.
        PlatformError: the disk or the service failed, or others changed the file for minutes.
    """

    def attempt() -> Any:
        now = read_with_token(uri)
        before = None if now is None else (parse or json_of)(now.content, uri)
        after = change(before)
        if after == before:
            return after
        content = json_bytes(after)
        if not (create_if_absent(uri, content) if now is None else replace_if_unchanged(uri, content, now.token)):
            raise _Overtaken("others change the file all the time", where=uri, fix="Try again")
        return after

    return retry(attempt, _CONTENTION, transient=(_Overtaken,))


def json_of(content: bytes, uri: str) -> Any:
    """The JSON value in the content of a file.

    Raises:
        DataError: it is not JSON, or null, which stands for a file that does not exist.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError("the file is not valid JSON", where=uri, received=str(error)) from error
    if value is None:
        raise DataError("the file is damaged", where=uri, expected="a JSON object", received="null")
    return value


def unfinished(name: str) -> str:
    """The name of a file in a local folder while it is written; a killed writer leaves it."""
    return f".{name}.unfinished"


def _token(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, uri: str) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError("the file cannot be read", where=uri, received=str(error)) from error
    except OSError as error:
        raise PlatformError("the file cannot be read", where=uri, received=str(error)) from error


def _write(uri: str, content: bytes, token: str | None) -> bool:
    path = storage.local_path(uri)
    bucket = mounted_bucket(path)
    if bucket is not None:
        raise UsageError(
            "a mounted bucket has no locks between machines",
            where=uri,
            expected="a folder on a disk, gs:// or s3://",
            received=f"a file system of type {bucket}",
            fix="Use the bucket's gs:// or s3:// name",
        )
    with locked(str(path.parent), name=LOCK):
        now = _read(path, uri)
        if (None if now is None else _token(now)) != token:
            return False
        with storage.writing(uri):
            # Only the holder of the lock writes, so that a killed one's file is overwritten by the next.
            temporary = path.with_name(unfinished(path.name))
            temporary.write_bytes(content)
            storage.publish(temporary, path)
    return True
