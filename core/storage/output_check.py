"""Output checks: decide whether an output may be written, so that no file of the user is ever removed or overwritten.

A command replaces only what headrace wrote, which is marked: an artifact by the member "kind" of its manifest, which
lists its files. Anything else that exists there, in the folder or in a folder within it, is refused before any work,
and so is an output that holds or equals an input.
"""

from __future__ import annotations

import errno
import glob as _glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.compare_and_set import LOCK, unfinished
from headrace.core.storage.lock import FOLDER_LOCK
from headrace.core.storage.remote import folders
from headrace.core.storage.remote.probes import is_probe


class Kind(Protocol):
    """A kind of output.

    Attributes:
        name: for messages, such as "Examples".
        replaced: whether a new output replaces the old one as a whole.
    """

    @property
    def name(self) -> str: ...

    @property
    def replaced(self) -> bool: ...

    def foreign(self, uri: str) -> str | None:
        """Describes what `uri` holds that is not of this kind; None where a new output may be written there."""


@dataclass(frozen=True)
class Artifact:
    """A folder that `output.publishing` replaces as a whole.

    Attributes:
        kind: value of "kind" in its manifest.
        name: for messages.
        manifest: name of the JSON file that marks it.
        entries: paths of files that each artifact of this kind may hold besides its manifest.
        folders: names of folders that it may hold, also empty.
        listed: returns the paths of further files, of an artifact's URI and manifest; any other file is the user's.
    """

    kind: str
    name: str
    manifest: str
    entries: frozenset[str]
    folders: frozenset[str]
    listed: Callable[[str, Mapping[str, Any]], Iterable[str]]
    replaced: bool = True

    def foreign(self, uri: str) -> str | None:
        """See `Kind`."""
        names = _names(uri)
        if names is None:
            return "a file"
        files = storage.files_below(uri).keys()
        if not names:
            # An upload by headrace was killed: it listed what the folder may hold until the next one.
            others = files - folders.claimed(uri) if files else set()
        elif self.manifest not in names:
            return _shown(names)
        else:
            manifest = _json(storage.join(uri, self.manifest))
            if manifest.get("kind") != self.kind:
                return f'a {self.manifest} without "kind": "{self.kind}"'
            own = {self.manifest, *self.entries, *self.listed(uri, manifest)}
            others = (files - own) | (names - self.folders - {path.partition("/")[0] for path in own})
        return f"also {_shown(others)}" if others else None


@dataclass(frozen=True)
class StateFolder:
    """A folder that several runs change, such as a registry: it is never replaced.

    Attributes:
        name: for messages.
        state: name of the JSON file that holds the current state.
        entries: other names that it may hold, also before the state exists.
    """

    name: str
    state: str
    entries: frozenset[str]
    replaced: bool = False

    def foreign(self, uri: str) -> str | None:
        """See `Kind`."""
        names = _names(uri)
        if names is None:
            return "a file"
        if not names or self.state in names:
            return None
        # Writers lock the folder, or its state, first; a bucket has no lock.
        ours = {FOLDER_LOCK, LOCK, unfinished(self.state)}
        begun = names & ours or storage.is_remote(uri)
        others = names - self.entries - ours
        return None if begun and not others else _shown(others or names)


@dataclass(frozen=True)
class OpenFolder:
    """A folder that may hold other files too, such as a root: each output below it has its own path, which is checked.

    Attributes:
        name: for messages.
        closed: names of files that mark the folder as an artifact or a SavedModel.
    """

    name: str
    closed: frozenset[str]
    replaced: bool = False

    def foreign(self, uri: str) -> str | None:
        """See `Kind`."""
        names = _names(uri)
        if names is None:
            return "a file"
        found = names & self.closed
        return _shown(found) if found else None


@dataclass(frozen=True)
class TextFile:
    """A file that is replaced as a whole.

    Attributes:
        name: for messages.
        ours: returns whether the content of a file is of this kind.
    """

    name: str
    ours: Callable[[bytes], bool]
    replaced: bool = True

    def foreign(self, uri: str) -> str | None:
        """See `Kind`."""
        if not storage.is_remote(uri):
            path = storage.local_path(uri)
            if path.is_dir():
                return "a folder"
            if path.exists() and not path.is_file():
                return "a device"
        if not storage.exists(uri):
            return None
        content = storage.read_bytes(uri)
        return None if not content or self.ours(content) else "another file"


def check_output(
    output: str, kind: Kind, *, option: str = "--output", inputs: Mapping[str, str | None] | None = None
) -> None:
    """Refuses an output whose writing would remove or overwrite anything but an earlier output of the same kind.

    Nothing is written. Symbolic links and `..` are followed.

    Args:
        output: path or URI to write.
        kind: of the output.
        option: that set the output, for messages.
        inputs: paths, patterns or URIs that the command reads or writes elsewhere, by their name for messages; "" and
            None are skipped.

    Raises:
        UsageError: the output holds or equals an input or the working folder, or holds something else.
        PlatformError: the disk or the service failed.
    """
    if not output:
        raise UsageError("the path is empty", where=option, expected=f"a path for {kind.name}")
    kept = {name: uri for name, uri in (inputs or {}).items() if uri}
    if kind.replaced and not storage.is_remote(output):
        kept["the working folder"] = "."
    with storage.writing(output):
        for name, uri in kept.items():
            if _held(output, uri, above=kind.replaced):
                raise UsageError(
                    f"the output equals or contains {name}" if kind.replaced else f"the output equals {name}",
                    where=f"{option} {output}",
                    expected=f"a separate path for {kind.name}",
                    received=f"{name} {uri}",
                    fix="Nothing was changed. Choose another path",
                )
        check_replaceable(output, kind, where=f"{option} {output}")


def check_replaceable(output: str, kind: Kind, *, where: str = "") -> None:
    """Refuses an output that holds anything other than a `kind`.

    Raises:
        UsageError: the output holds something else.
    """
    found = kind.foreign(output)
    if found is not None:
        raise UsageError(
            "the output already holds something else",
            where=where or output,
            expected=f"a new path, or {kind.name} written by headrace",
            received=found,
            fix="Nothing was changed. Choose another path, or remove what is there yourself",
        )


def _names(uri: str) -> set[str] | None:
    """The names in a folder, without probes, empty where it does not exist; None for a file."""
    if storage.is_remote(uri):
        return {name for name in storage.names_below(uri) if not is_probe(name)}
    # One look: between two of them another process may create the folder, which would then be taken for a file.
    path = storage.local_path(uri)
    try:
        return {entry.name for entry in path.iterdir() if not is_probe(entry.name)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        return None if path.exists() else set()


def _shown(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _json(uri: str) -> dict[str, Any]:
    try:
        found = storage.read_json(uri)
    except (DataError, OSError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _held(output: str, uri: str, *, above: bool) -> bool:
    """Whether `output` is a path that `uri` names, or with `above` contains one: by name, or as the same folder."""
    if storage.is_remote(output):
        whole, below = f"{output.rstrip('/')}/", f"{uri.rstrip('/')}/"
        return below.startswith(whole) if above else below == whole
    target = storage.resolve(output)
    same = _identity(target)
    seen: set[Path] = set()
    for place in _places(uri):
        for path in (place, *(place.parents if above else ())):
            if path in seen:
                break
            seen.add(path)
            if path == target or (same is not None and _identity(path) == same):
                return True
    return False


def _places(uri: str) -> Iterator[Path]:
    """The local paths that `uri` names, both as links and resolved."""
    if "://" in uri and not uri.startswith("file://"):
        return
    path = str(storage.local_path(uri))
    pattern = _glob.has_magic(path) and not os.path.lexists(path)
    for name in _glob.iglob(path, recursive=True) if pattern else (path,):  # noqa: PTH207
        yield Path(os.path.realpath(name))
        parent, link = os.path.split(os.path.abspath(name))  # noqa: PTH100
        yield Path(os.path.realpath(parent)) / link


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # Two names of one file can be replaced separately; two names of one folder, such as a mount, cannot.
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
