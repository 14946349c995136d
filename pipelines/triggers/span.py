"""Spans in a folder: each folder in it is a span of several files, and each file in it a span of its own."""

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

# Names that programs give to files while they write them: downloads, SFTP servers, editors, HDFS, and committers of
# Spark, Hadoop and Beam, which write into folders of such names.
_UNFINISHED = re.compile(
    r"(?:\.(?:tmp|temp|part|partial|filepart|crdownload|download|unfinished|swp|swx|gstmp)|\._COPYING_|~)\Z"
    r"|(?:\A|/)(?:_temporary|_delta_log_tmp|\.spark-staging[^/]*|\.?temp-beam[^/]*|beam-temp[^/]*)/",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class File:
    """A file as it was listed.

    Attributes:
        bytes: its size.
        changed: time of its last change by the clock of its file system or store, comparable within one span.
        identity: differs where the content may.
    """

    bytes: int
    changed: float
    identity: str


@dataclass(frozen=True)
class ListedSpan:
    """A span as it was listed.

    Attributes:
        name: of the span: the folder's, or the file's without its format.
        data: URI of the folder or the file.
        folder: whether it is a folder.
        files: by path within the folder; of a file, itself by its name.
    """

    name: str
    data: str
    folder: bool
    files: Mapping[str, File] = field(default_factory=dict)

    @cached_property
    def data_files(self) -> tuple[str, ...]:
        """Names of the files that hold rows, sorted."""
        return tuple(sorted(name for name in self.files if is_data(name) and not is_unfinished(name)))

    @cached_property
    def unfinished(self) -> tuple[str, ...]:
        """Names of the files that are being written by their name, sorted."""
        return tuple(sorted(name for name in self.files if is_unfinished(name)))

    @cached_property
    def signature(self) -> str:
        """Changes whenever a file is added, removed or changed."""
        digest = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            digest.update(f"{name}\0{file.bytes} {file.changed!r} {file.identity}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def is_data(name: str) -> bool:
    """Whether a file holds rows: names that begin with . or _ do not, by the convention of Beam, Spark and Hive."""
    return all(part[:1] not in "._" for part in name.split("/"))


def is_unfinished(name: str) -> bool:
    """Whether a program that is writing the file has named it so."""
    return _UNFINISHED.search(name) is not None


def list_spans(folder: str) -> list[ListedSpan]:
    """The spans in a folder, by name. Hidden entries, and those whose names begin with _, are none.

    Args:
        folder: on a disk, or gs://BUCKET/FOLDER.

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
    """The span that a file in a folder belongs to, as it is listed now; None where the file is of no span.

    Args:
        folder: that holds the spans, on gs://.
        uri: of the file.

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
    """The name of a span: that of its folder, or its file without the endings of its format."""
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
    """All regular files below a folder. Those that vanish meanwhile are not there."""
    root = os.path.realpath(storage.local_path(folder))
    files: dict[str, File] = {}
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        if error.filename == root:
            raise error

    try:
        # Linked folders are followed, each once: a link is how a whole folder is published at once.
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
