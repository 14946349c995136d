"""Files by URI: local paths, file://, gs:// and s3://, read and written in one way; other schemes are refused."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.durable import publish
from headrace.core.storage.json_lines import json_bytes
from headrace.core.storage.remote import folders, is_remote, store_of

_CHUNK = 1 << 20


def place_of(artifact: Any, *, shared: bool = False) -> str:
    """Where a pipeline's output artifact is written: its URI, or the path that the engine assigned.

    A platform may mount a bucket as a folder (/gcs on Vertex AI), in which folders cannot be renamed: on gs:// it is
    the URI. On s3:// it is the path: Kubeflow's engine uploads what is there with credentials of its own, which the
    task does not have.

    Args:
        artifact: of kfp.
        shared: whether workers on other machines write it too, which reach only the URI and have credentials.
    """
    uri = getattr(artifact, "uri", None) or ""
    return uri if uri.startswith("gs://") or (shared and is_remote(uri)) else str(artifact.path)


def local_path(uri: str) -> Path:
    """The local path that `uri` names.

    Raises:
        UsageError: `uri` is empty, is in an object store, or has a scheme that is not supported.
    """
    if not uri:
        raise UsageError("the path is empty", expected="a file or a folder")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    if scheme == "file":
        return Path(rest)
    if is_remote(uri):
        raise UsageError("a path on this machine is required", where=uri, expected="a local path or file://...")
    raise UsageError(
        f"{scheme}:// is not supported",
        where=uri,
        expected="a local path, file://, gs:// or s3://",
        fix="Use s3://, and set AWS_ENDPOINT_URL to the address of the store" if scheme in ("minio", "s3a") else None,
    )


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it."""
    return "/".join([uri.rstrip("/") or "/", *parts]) if parts else uri


def resolve(uri: str) -> Path:
    """The local path of `uri` with `..` and symbolic links resolved, so that it has a name and a parent."""
    return Path(os.path.realpath(local_path(uri)))


def sibling(uri: str, ending: str) -> str:
    """A URI next to `uri`: its name with an ending."""
    if not is_remote(uri) and local_path(uri).name in ("", ".."):
        uri = str(resolve(uri))
    return f"{uri.rstrip('/')}{ending}"


def exists(uri: str) -> bool:
    """Whether a file or a folder exists at `uri`."""
    if is_remote(uri):
        return folders.exists(uri)
    return local_path(uri).exists()


def size(uri: str) -> int:
    """Size of a file in bytes. Raises OSError as `os.stat` does."""
    if is_remote(uri):
        return folders.describe(uri).bytes
    return local_path(uri).stat().st_size


def open_input(uri: str) -> BinaryIO:
    """Opens a file for reading, binary and seekable. Raises OSError as `open` does."""
    if is_remote(uri):
        return store_of(uri).open_input(uri)
    return local_path(uri).open("rb")


@contextmanager
def open_output(uri: str) -> Iterator[BinaryIO]:
    """Opens a binary file for atomic writing: it gets its name when the block succeeds, and is removed otherwise.

    Raises:
        UsageError: the file cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    with tempfile.TemporaryDirectory() if is_remote(uri) else beside(uri) as folder:
        temporary = Path(folder) / ".unfinished"
        with writing(uri), temporary.open("wb") as file:
            yield file
        if is_remote(uri):
            store_of(uri).upload(temporary, uri)
        else:
            with writing(uri):
                publish(temporary, local_path(uri))


@contextmanager
def beside(uri: str) -> Iterator[str]:
    """A temporary folder on the same disk as the local file `uri`."""
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move(uri: str, target: str) -> None:
    """Renames a file within the same disk or store; an existing target is replaced.

    Raises:
        UsageError: the target cannot be written.
        PlatformError: the disk is full, the service failed, or the file is gone.
    """
    with writing(target):
        if is_remote(uri):
            store = store_of(uri)
            store.copy(uri, target)
            store.remove([uri])
            return
        path = local_path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        local_path(uri).replace(path)


def remove(uri: str) -> None:
    """Removes a file, or a folder with its content; a missing one is not an error."""
    if is_remote(uri):
        store = store_of(uri)
        store.remove([*(found.uri for found in folders.below(uri)), *([uri] if store.parse(uri)[1] else [])])
        return
    path = local_path(uri)
    with writing(uri):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_bytes(uri: str) -> bytes:
    """The whole content of a file. Raises OSError as `open` does."""
    if is_remote(uri):
        return store_of(uri).read_bytes(uri)
    return local_path(uri).read_bytes()


def read_json(uri: str) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: the file does not exist, or is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=uri) from error
    except ValueError as error:
        raise DataError("the file is not valid JSON", where=uri, received=str(error)) from error


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file atomically, also if the machine stops half-way.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    if is_remote(uri):
        with writing(uri):
            store_of(uri).write_bytes(uri, content)
        return
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            with temporary.open("xb") as file:
                file.write(content)
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(uri: str, value: Any) -> None:
    """Writes a JSON value atomically, keys in their order; NaN and infinity are refused.

    The text has one line per key of an object, and one line per member of an array of objects or arrays.
    """
    write_bytes(uri, json_bytes(value))


@contextmanager
def at_hand(uri: str) -> Iterator[Path]:
    """A local folder with the content of `uri`: the folder itself if local, else a copy, removed when the block ends.

    Raises:
        UsageError: the bucket does not exist, or access is denied.
        PlatformError: the disk is full, or the service failed.
    """
    if not is_remote(uri):
        yield local_path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        with writing(folder):
            folders.download_tree(uri, Path(folder))
        yield Path(folder)


@contextmanager
def file_at_hand(uri: str) -> Iterator[Path]:
    """A local file with the content of `uri` and its name: the file itself if local, else a copy for the block.

    Raises:
        FileNotFoundError: the object does not exist.
        UsageError: the bucket does not exist, or access is denied.
        PlatformError: the disk is full, or the service failed.
    """
    if not is_remote(uri):
        yield local_path(uri)
        return
    # While it is copied, an error of the disk is not told from a missing object.
    folders.describe(uri)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / uri.rstrip("/").rpartition("/")[2]
        with writing(folder):
            store_of(uri).download(uri, copy)
        yield copy


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Translates errors of the operating system while `uri` is written.

    Raises:
        UsageError: the path cannot be written.
        PlatformError: the disk is full or failed.
    """
    try:
        try:
            yield
        except shutil.Error as error:
            raise _first_of(error) from error
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise UsageError(
            "the path cannot be written", where=uri, expected="a folder that you may write to", received=str(error)
        ) from error
    except OSError as error:
        # EROFS is the user's choice of a path; ENOSPC, EIO and the rest may be gone at the next attempt.
        kind = UsageError if error.errno == 30 else PlatformError
        raise kind("the path cannot be written", where=uri, received=str(error)) from error


def _first_of(errors: shutil.Error) -> OSError:
    """The first error of a copied folder, of which `shutil` keeps the text for each file."""
    if not errors.args or not isinstance(errors.args[0], list) or not errors.args[0]:
        return OSError(str(errors))
    _, target, text = errors.args[0][0]
    number = re.match(r"\[Errno (\d+)\]", str(text))
    if number is None:
        return OSError(f"{text}: {target}")
    # An error with a number has the class that belongs to it.
    return OSError(int(number[1]), os.strerror(int(number[1])), str(target))


def temporary_name(path: Path, mark: str = "") -> Path:
    """An unused hidden name next to a local `path`, for a file or folder that is renamed to `path` when complete.

    Files and folders that `open` and `mkdir` create there have the usual permissions. (The functions of `tempfile` make
    them private, and the process's umask cannot be read without changing it for all threads.)

    Args:
        path: the final path.
        mark: prefix of the random part of the name.
    """
    return path.with_name(f".{path.name}.{mark}{secrets.token_hex(8)}")
