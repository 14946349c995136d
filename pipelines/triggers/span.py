"""Spans in a folder: each subfolder is a span of several files, and each file is a span of one file."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage.remote import folders

# Names of files while programs write them: downloads, SFTP servers, editors, HDFS, and committers of Spark, Hadoop and
# Beam, which write into folders of such names.
_UNFINISHED = re.compile(
    r"(?:\.(?:tmp|temp|part|partial|filepart|crdownload|download|unfinished|swp|swx|gstmp)|\._COPYING_|~)\Z"
    r"|(?:\A|/)(?:_temporary|_delta_log_tmp|\.spark-staging[^/]*|\.?temp-beam[^/]*|beam-temp[^/]*)/",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class File:
    """A listed file.

    Attributes:
        bytes: size in bytes.
        changed: time of the last change by the clock of the file system or the store, comparable within one span.
        identity: a text that differs if the content may differ.
    """

    bytes: int
    changed: float
    identity: str


@dataclass(frozen=True)
class ListedSpan:
    """A listed span.

    Attributes:
        name: name of the span: that of the folder, or that of the file without the endings of its format.
        data: URI of the folder or the file.
        folder: whether it is a folder.
        files: files by path within the folder; for a file, the file by its name.
    """

    name: str
    data: str
    folder: bool
    files: Mapping[str, File] = field(default_factory=dict)

    @cached_property
    def data_files(self) -> tuple[str, ...]:
        """Names of the files with rows, sorted."""
        return tuple(sorted(name for name in self.files if is_data(name) and not is_unfinished(name)))

    @cached_property
    def unfinished(self) -> tuple[str, ...]:
        """Names of the files that are still being written, according to their names, sorted."""
        return tuple(sorted(name for name in self.files if is_unfinished(name)))

    @cached_property
    def signature(self) -> str:
        """A digest that changes when a file is added, removed or changed."""
        digest = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            digest.update(f"{name}\0{file.bytes} {file.changed!r} {file.identity}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def is_data(name: str) -> bool:
    """Whether a file contains rows. Names that begin with . or _ do not, by the convention of Beam, Spark and Hive."""
    return all(part[:1] not in "._" for part in name.split("/"))


def is_unfinished(name: str) -> bool:
    """Whether a file is still being written, according to its name."""
    return _UNFINISHED.search(name) is not None


def list_spans(folder: str) -> list[ListedSpan]:
    """The spans in a folder, sorted by name. Entries whose names begin with . or _ are ignored.

    Args:
        folder: path of a folder, or gs://BUCKET/FOLDER.

    Raises:
        UsageError: the folder does not exist, or cannot be read.
        PlatformError: the disk or the service failed.
    """
    entries: dict[str, dict[str, File]] = {}
    for path, file in (_remote_files(folder) if storage.is_remote(folder) else _local_files(folder)).items():
        entry, _, below = path.partition("/")
        if is_data(entry):
            entries.setdefault(entry if below else f"/{entry}", {})[below or entry] = file
    spans = [
        ListedSpan(_name(key), storage.join(folder, key.lstrip("/")), not key.startswith("/"), files)
        for key, files in entries.items()
    ]
    return sorted(spans, key=lambda span: (span.name, span.data))


def span_of(folder: str, uri: str) -> ListedSpan | None:
    """The span of a file, with its current list of files; None if the file does not belong to a span.

    Args:
        folder: gs:// URI of the folder of spans.
        uri: URI of the file.

    Raises:
        UsageError: the bucket does not exist, or cannot be read.
        PlatformError: the service failed.
    """
    prefix = storage.join(folder, "")
    entry, _, below = uri.removeprefix(prefix).partition("/")
    if not uri.startswith(prefix) or not is_data(entry) or not entry:
        return None
    data = storage.join(folder, entry)
    if below:
        return ListedSpan(entry, data, True, _remote_files(data))
    found, _ = folders.find(data)
    return ListedSpan(
        _name(f"/{entry}"), data, False, {each.uri.rpartition("/")[2]: _remote_file(each) for each in found}
    )


def _name(key: str) -> str:
    """The name of a span: that of its folder, or that of its file without the endings of its format."""
    if not key.startswith("/"):
        return key
    from headrace.core.sources.open_file import split_name

    name = key[1:]
    form, compression = split_name(name)
    if compression is not None:
        name = name.rpartition(".")[0]
    return name[: -len(form)] if form else name


def _remote_files(folder: str) -> dict[str, File]:
    prefix = storage.join(folder, "")
    found = {each.uri.removeprefix(prefix): _remote_file(each) for each in folders.below(folder)}
    return {name: file for name, file in found.items() if name and not name.endswith("/")}


def _remote_file(found: object) -> File:
    return File(found.bytes, found.created, found.checksum)  # type: ignore[attr-defined]


def _local_files(folder: str) -> dict[str, File]:
    """All regular files below a folder. Files that disappear during the listing are left out."""
    root = os.path.realpath(storage.local_path(folder))
    files: dict[str, File] = {}
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        if error.filename == root:
            raise error

    try:
        # Linked folders are followed, each once, because a link publishes a complete folder atomically.
        for path, folders, names in os.walk(root, onerror=fail, followlinks=True):
            seen.add(os.path.realpath(path))
            folders[:] = sorted(each for each in folders if os.path.realpath(Path(path, each)) not in seen)
            for name in names:
                whole = Path(path, name)
                try:
                    found = whole.stat()
                except OSError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    relative = whole.relative_to(root).as_posix()
                    files[relative] = File(found.st_size, found.st_mtime, f"{found.st_ino} {found.st_mtime_ns}")
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError("the folder cannot be read", where=folder, received=error.strerror) from error
    except OSError as error:
        raise PlatformError("the folder cannot be read", where=folder, received=str(error)) from error
    return files
