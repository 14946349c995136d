"""Folders in an object store: all objects below a URI, listed, replaced and copied as a folder on a disk would be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from headrace.core.errors import UsageError
from headrace.core.storage.remote import uploads
from headrace.core.storage.remote.object_glob import translate
from headrace.core.storage.remote.open import store_of
from headrace.core.storage.remote.store import StoredObject

_TRANSFERS_AT_ONCE = 8
# Marks a folder whose upload was killed: a store cannot swap folders, so some objects may be old ones, or missing.
UNFINISHED = ".headrace-unfinished"
_GLOB = re.compile(r"[*?\[]")


def exists(uri: str) -> bool:
    """Whether an object of this name exists, or any below it."""
    store = store_of(uri)
    _, name = store.parse(uri)
    return store.look_up(uri) is not None or bool(store.list_objects(uri, _prefix(name), limit=1))


def describe(uri: str) -> StoredObject:
    """An object's size and checksum. Raises FileNotFoundError where it does not exist."""
    found = store_of(uri).look_up(uri)
    if found is None:
        raise FileNotFoundError(2, "the object does not exist", uri)
    return found


def below(uri: str) -> list[StoredObject]:
    """All objects below `uri`, sorted by name."""
    store = store_of(uri)
    return store.list_objects(uri, _prefix(store.parse(uri)[1]))


def names_below(uri: str) -> set[str]:
    """The names directly below `uri`; none where it is marked as unfinished."""
    prefix = _prefix(store_of(uri).parse(uri)[1])
    names = {found.name.removeprefix(prefix).partition("/")[0] for found in below(uri)} - {""}
    return set() if UNFINISHED in names else names


def claimed(uri: str) -> set[str]:
    """The paths that may be below `uri` after an upload by headrace was killed; empty if none was."""
    try:
        return {UNFINISHED, *json.loads(store_of(uri).read_bytes(f"{uri.rstrip('/')}/{UNFINISHED}"))}
    except (FileNotFoundError, ValueError, TypeError):
        return set()


def find(uri: str) -> tuple[list[StoredObject], bool]:
    """The objects that `uri` names, sorted, and whether it names a single object.

    They are the object itself, the objects directly below it, or those that match a glob: `*` and `?` stop at a slash,
    `**` does not.
    """
    store = store_of(uri)
    _, name = store.parse(uri)
    if not _GLOB.search(name):
        alone = store.look_up(uri) if name and not name.endswith("/") else None
        if alone is not None:
            return [alone], True
        prefix = _prefix(name)
        return [each for each in store.list_objects(uri, prefix, direct=True) if each.name != prefix], False
    fixed = name[: next(_GLOB.finditer(name)).start()]
    pattern = re.compile(translate(name))
    return [each for each in store.list_objects(uri, fixed) if pattern.fullmatch(each.name)], False


def upload_tree(folder: Path, uri: str, last: str, check: Callable[[], None] = lambda: None) -> None:
    """Replaces the objects below `uri` by the files of a local folder.

    Everything is uploaded next to `uri` first: a failed upload changes nothing. Then it is copied within the store.
    What a killed upload left next to `uri` is removed.
    Readers look for the file `last`: an earlier one is removed before the first copy, and the new one is written last.
    `check` is called before the first change: it raises an error to leave `uri` unchanged.
    """
    store = store_of(uri)
    bucket, name = store.parse(uri)
    scheme = uri[: uri.index("://") + 3]
    prefix = _prefix(name)
    staging = uploads.begin(prefix)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def at(below: str, file: str) -> str:
        return f"{scheme}{bucket}/{below}{file}"

    try:
        with ThreadPoolExecutor(_TRANSFERS_AT_ONCE) as pool:
            list(pool.map(lambda file: store.upload(folder / file, at(staging, file)), files))
            check()
            uploads.remove_abandoned(store, uri, prefix, staging)
            earlier = {found.name for found in store.list_objects(uri, prefix)}
            with unfinished(uri, {*files, *(name.removeprefix(prefix) for name in earlier)}):
                if prefix + last in earlier:
                    store.remove([at(prefix, last)])
                others = [file for file in files if file != last]
                list(pool.map(lambda file: store.copy(at(staging, file), at(prefix, file)), others))
                kept = {prefix + file for file in [*files, last, UNFINISHED]}
                store.remove([at("", old) for old in sorted(earlier - kept)])
                if last in files:
                    store.copy(at(staging, last), at(prefix, last))
    finally:
        store.remove([found.uri for found in store.list_objects(uri, staging)])


@contextmanager
def unfinished(uri: str, paths: Iterable[str]) -> Iterator[None]:
    """Marks what is below `uri` as unfinished, so that another attempt may replace it if the block fails.

    Args:
        uri: the folder.
        paths: relative to it, of all that it holds before the block or after it.
    """
    store, mark = store_of(uri), f"{uri.rstrip('/')}/{UNFINISHED}"
    store.write_bytes(mark, json.dumps(sorted(paths)).encode())
    yield
    store.remove([mark])


def download_tree(uri: str, folder: Path) -> int:
    """Copies all objects below `uri` into a local folder.

    Returns:
        The number of objects.

    Raises:
        UsageError: an object's name would lead out of the folder.
        PlatformError: an object was removed meanwhile, or the service failed.
    """
    store = store_of(uri)
    prefix = _prefix(store.parse(uri)[1])
    files = {o.uri: path_below(prefix, o) for o in below(uri) if not o.name.endswith("/")}

    def download(source: str) -> None:
        target = folder / files[source]
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(source, target)

    with ThreadPoolExecutor(_TRANSFERS_AT_ONCE) as pool:
        list(pool.map(download, files))
    return len(files)


def path_below(prefix: str, found: StoredObject) -> str:
    """The relative path of an object in a folder for `prefix`.

    Raises:
        UsageError: its name would lead out of the folder, or is not a path of a file.
    """
    path = found.name.removeprefix(prefix)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise UsageError("the object name is not a path of a file", where=found.uri)
    return path


def _prefix(name: str) -> str:
    """The beginning of the names of all objects below the object `name`."""
    return f"{name.rstrip('/')}/" if name else ""
