"""The only place that knows local paths from gs://; another scheme is refused with one paragraph."""

from __future__ import annotations

import glob as _glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.swap import exchange

if TYPE_CHECKING:
    from types import ModuleType

_CHUNK = 1 << 20
# What readers of an artifact look for: it comes last.
_MANIFEST = "manifest.json"


def is_remote(uri: str) -> bool:
    """Whether `uri` is in an object store, and so has no local path."""
    return uri.startswith("gs://")


def _remote() -> ModuleType:
    """The object store's side, which is slow to import and so waits until it is asked for.

    Raises:
        UsageError: its library is not installed.
    """
    try:
        from headrace.core.storage import gcs
    except ImportError as error:
        raise UsageError(
            "gs:// needs google-cloud-storage", received=str(error), fix="Run `pip install headrace[beam]`"
        ) from error
    return gcs


def place_of(artifact: Any) -> str:
    """Where a pipeline's output artifact is written: its gs:// URI, or the path that the engine gave it.

    A platform may show a bucket as a folder (/gcs on Vertex AI), which cannot rename what was written.
    """
    uri = getattr(artifact, "uri", None) or ""
    return uri if is_remote(uri) else str(artifact.path)


def local_path(uri: str) -> Path:
    """The local path that `uri` names.

    Raises:
        UsageError: `uri` is empty, is in an object store, or names a store that this version does not read.
    """
    if not uri:
        raise UsageError("the path is empty", expected="a file or a folder")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    if scheme == "file":
        return Path(rest)
    if is_remote(uri):
        raise UsageError("a place on this machine is needed here", where=uri, expected="a local path or file://...")
    raise UsageError(
        f"{scheme}:// is not read or written by this version", where=uri, expected="a local path, file:// or gs://"
    )


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it."""
    return "/".join([uri.rstrip("/") or "/", *parts]) if parts else uri


def exists(uri: str) -> bool:
    """Whether there is a file or a folder at `uri`."""
    if is_remote(uri):
        there: bool = _remote().exists(uri)
        return there
    return local_path(uri).exists()


def size(uri: str) -> int:
    """Bytes of a file. Raises OSError as `os.stat` does."""
    if is_remote(uri):
        found: int = _remote().describe(uri).bytes
        return found
    return local_path(uri).stat().st_size


def open_input(uri: str) -> BinaryIO:
    """A file to read, binary and seekable. Raises OSError as `open` does."""
    if is_remote(uri):
        file: BinaryIO = _remote().open_input(uri)
        return file
    return local_path(uri).open("rb")


@contextmanager
def open_output(uri: str) -> Iterator[BinaryIO]:
    """A file to write, binary, which gets its name when the block ends well, and is not there otherwise.

    Raises:
        UsageError: the place cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    with tempfile.TemporaryDirectory() if is_remote(uri) else _beside(uri) as folder:
        temporary = Path(folder) / ".unfinished"
        with writing(uri), temporary.open("wb") as file:
            yield file
        if is_remote(uri):
            _remote().upload(temporary, uri)
        else:
            with writing(uri):
                temporary.replace(local_path(uri))


@contextmanager
def _beside(uri: str) -> Iterator[str]:
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
    """Gives a file another name within the same disk or store; one that has it already is replaced.

    Raises:
        UsageError: the place cannot be written.
        PlatformError: the disk is full, the service failed, or the file is gone.
    """
    with writing(target):
        if is_remote(uri):
            remote = _remote()
            remote.copy(uri, target)
            remote.remove([uri])
            return
        path = local_path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        local_path(uri).replace(path)


def remove(uri: str) -> None:
    """Removes a file, or a folder with all in it; one that is not there is no error."""
    if is_remote(uri):
        remote = _remote()
        remote.remove([*(found.uri for found in remote.below(uri)), *([uri] if remote.parse(uri)[1] else [])])
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
        content: bytes = _remote().read_bytes(uri)
        return content
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
        PlatformError: the disk is full, or the service failed.
    """
    if is_remote(uri):
        with writing(uri):
            _remote().write_bytes(uri, content)
        return
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(uri: str, value: Any) -> None:
    """Writes a JSON value, keys in the order given, as `write_bytes` does; NaN and infinity are refused.

    An object has a line for each of its keys, an array of objects or arrays a line for each of them.
    """
    write_bytes(uri, ("".join(_json_lines(value, "\n")) + "\n").encode())


def _json_lines(value: Any, newline: str) -> Iterator[str]:
    """With `json.dumps(indent=...)` Python encodes alone, at a tenth of the speed of its C half, which does lines."""
    inner = newline + " "
    if isinstance(value, dict) and value:
        for number, (key, item) in enumerate(value.items()):
            yield ("," if number else "{") + inner + json.dumps({key: None}, allow_nan=False)[1:-5]
            yield from _json_lines(item, inner)
        yield newline + "}"
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict | list | tuple):
        for number, item in enumerate(value):
            yield ("," if number else "[") + inner + json.dumps(item, allow_nan=False)
        yield newline + "]"
    else:
        yield json.dumps(value, allow_nan=False)


def list_files(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files that `uri` names, sorted: itself, those directly in the folder, or those that match the glob.

    Files whose names start with `.` or `_` are not data, by the convention of Beam, Spark and Hive.

    Raises:
        DataError: nothing is there, or nothing with one of `suffixes`.
    """
    if is_remote(uri):
        return _list_remote_files(uri, suffixes)
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


def _list_remote_files(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    found, alone = _remote().find(uri)
    if alone:
        return [uri]
    if not found:
        raise DataError("there is no such file, folder or pattern", where=uri)
    named = [o.uri for o in found if o.uri.lower().endswith(suffixes) and o.uri.rsplit("/", 1)[1][0] not in "._"]
    if not named:
        raise DataError("there is no data file in it", where=uri, expected=f"files ending in {', '.join(suffixes)}")
    return named


def files_below(uri: str) -> dict[str, str]:
    """All files below a folder, hidden ones too: their URIs by their path within it, sorted by that.

    Linked folders are followed, as a volume of Kubernetes has them, each once.
    """
    if is_remote(uri):
        prefix = join(uri, "")
        found = {each.uri.removeprefix(prefix): each.uri for each in _remote().below(uri)}
        # Consoles make folders visible by an empty object whose name ends with a slash.
        return {name: found[name] for name in sorted(found) if name and not name.endswith("/")}
    root, files, seen = local_path(uri), {}, set()
    for folder, folders, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = [each for each in folders if os.path.realpath(os.path.join(folder, each)) not in seen]  # noqa: PTH118
        for name in names:
            path = Path(folder, name)
            files[path.relative_to(root).as_posix()] = str(path)
    return dict(sorted(files.items()))


def fingerprint(paths: Sequence[str]) -> str:
    """SHA-256 over the names and contents of files, in hexadecimal: the version of the data.

    Files in an object store are told apart by their size and the checksum that the store keeps: none is read.
    """
    total = hashlib.sha256()
    for name in paths:
        if is_remote(name):
            known = _remote().describe(name)
            total.update(f"{known.name.rsplit('/', 1)[-1]}\0{known.bytes} {known.crc32c}\n".encode())
            continue
        content = hashlib.sha256()
        with local_path(name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                content.update(chunk)
        total.update(f"{local_path(name).name}\0{content.hexdigest()}\n".encode())
    return total.hexdigest()


@contextmanager
def at_hand(uri: str) -> Iterator[Path]:
    """A local folder with what is below `uri`: itself where it is local, else a copy that goes when the block ends.

    Raises:
        UsageError: there is no such bucket, or it may not be read.
        PlatformError: the disk is full, or the service failed.
    """
    if not is_remote(uri):
        yield local_path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        with writing(folder):
            _remote().download_tree(uri, Path(folder))
        yield Path(folder)


@contextmanager
def publishing(uri: str) -> Iterator[Path]:
    """A temporary folder beside `uri` that is renamed to it when the block ends well, and is removed otherwise.

    A folder that is already at `uri` changes places with the new one, and is then removed. In an object store, which
    cannot rename, the temporary folder is a local one that is copied when the block ends well; manifest.json comes
    last, as the sign that all is there.
    """
    if is_remote(uri):
        remote = _remote()
        remote.parse(uri)
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            remote.upload_tree(Path(staging), uri, _MANIFEST)
        return
    path = local_path(uri)
    with writing(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        temporary.mkdir()
    try:
        yield temporary
        with writing(uri):
            if path.is_dir():
                exchange(temporary, path)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(uri: str) -> None:
    """Makes sure, before long work, that `publishing` can begin at `uri`. In an object store nothing is tried.

    Raises:
        UsageError: the folder above it cannot be written.
        PlatformError: the disk is full or failed.
    """
    if not is_remote(uri):
        with _beside(uri):
            pass


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


def temporary_name(path: Path, mark: str = "") -> Path:
    """A hidden name beside a local `path` that nothing has yet, for what is renamed to `path` when it is whole.

    What is made there by `open` and `mkdir` has the permissions of any other new file or folder. (The functions of
    `tempfile` make it private, and the process's umask cannot be asked for without changing it for all threads.)

    Args:
        path: where it will be.
        mark: begins the part of the name that follows `path`'s.
    """
    return path.with_name(f".{path.name}.{mark}{secrets.token_hex(8)}")
