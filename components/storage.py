"""The only place that knows where bytes are. Local paths today; another scheme is refused with one paragraph."""

from __future__ import annotations

import glob as _glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.components.errors import DataError, PlatformError, UsageError

_CHUNK = 1 << 20


def local_path(uri: str) -> Path:
    """The local path that `uri` names.

    Raises:
        UsageError: `uri` is empty, or names a store that this version does not read.
    """
    if not uri:
        raise UsageError("the path is empty", expected="a file or a folder")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    if scheme == "file":
        return Path(rest)
    raise UsageError(
        f"{scheme}:// is not read or written by this version", where=uri, expected="a local path or file://..."
    )


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it."""
    return "/".join([uri.rstrip("/") or "/", *parts]) if parts else uri


def exists(uri: str) -> bool:
    """Whether there is a file or a folder at `uri`."""
    return local_path(uri).exists()


def read_bytes(uri: str) -> bytes:
    """The whole content of a file. Raises OSError as `open` does."""
    return local_path(uri).read_bytes()


def read_json(uri: str) -> Any:
    """The JSON value in a file.

    Raises:
        DataError: there is no such file, or it does not hold JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=uri) from error
    except ValueError as error:
        raise DataError("the file does not hold JSON", where=uri, received=str(error)) from error


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file that appears whole or not at all, also if the machine stops half-way.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: the disk is full or failed.
    """
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp gives 0600; what is published is readable as any other new file would be.
            os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(uri: str, value: Any) -> None:
    """Writes a JSON value, keys in the order given, as `write_bytes` does; NaN and infinity are refused."""
    write_bytes(uri, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def list_files(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files that `uri` names, sorted: itself, those directly in the folder, or those that match the glob.

    Files whose names start with `.` or `_` are not data, by the convention of Beam, Spark and Hive.

    Raises:
        DataError: nothing is there, or nothing with one of `suffixes`.
    """
    path = local_path(uri)
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file()]
    else:
        found = [Path(name) for name in _glob.glob(str(path), recursive=True) if Path(name).is_file()]  # noqa: PTH207
        if not found:
            raise DataError("there is no such file, folder or pattern", where=uri)
    named = sorted(str(f) for f in found if f.name.lower().endswith(suffixes) and f.name[0] not in "._")
    if not named:
        raise DataError("there is no data file in it", where=uri, expected=f"files ending in {', '.join(suffixes)}")
    return named


def fingerprint(paths: list[str]) -> str:
    """SHA-256 over the names and contents of files, in hexadecimal: the version of the data."""
    total = hashlib.sha256()
    for name in paths:
        content = hashlib.sha256()
        with local_path(name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                content.update(chunk)
        total.update(f"{local_path(name).name}\0{content.hexdigest()}\n".encode())
    return total.hexdigest()


@contextmanager
def publishing(uri: str) -> Iterator[Path]:
    """A temporary folder beside `uri` that is renamed to it when the block ends well, and is removed otherwise.

    A folder that is already at `uri` is replaced.
    """
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        with writing(uri):
            temporary.chmod(0o777 & ~_umask())
            if path.is_dir():
                shutil.rmtree(path)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turns what the system says about writing to `uri` into one of our errors.

    Raises:
        UsageError: the path cannot be written.
        PlatformError: the disk is full or failed.
    """
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise UsageError(
            "it cannot be written", where=uri, expected="a folder that you may write to", received=str(error)
        ) from error
    except OSError as error:
        # EROFS is the user's choice of a place; ENOSPC, EIO and the rest may be gone at the next try.
        kind = UsageError if error.errno == 30 else PlatformError
        raise kind("it cannot be written", where=uri, received=str(error)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
