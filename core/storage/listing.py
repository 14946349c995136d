"""Listings of files and objects, and fingerprints of their content."""

from __future__ import annotations

import glob as _glob
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.core.errors import DataError
from headrace.core.storage.files import join, local_path
from headrace.core.storage.remote import folders as remote_folders
from headrace.core.storage.remote import is_remote
from headrace.core.text import undecodable

_CHUNK = 1 << 20


def list_files(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files that `uri` names, sorted: itself, those directly in the folder, or those that match the glob.

    Of a folder without data files, those in folders COLUMN=VALUE, at any depth, as Hive and Spark write them.

    Files whose names start with `.` or `_` are not data, by the convention of Beam, Spark and Hive.

    Raises:
        DataError: nothing exists there, or nothing with one of `suffixes`, or the name of a file is not UTF-8.
    """
    _check_name(uri)
    if is_remote(uri):
        return _list_remote_files(uri, suffixes)
    path = local_path(uri)
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file()]
        if not any(_is_data(entry.name, suffixes) for entry in found):
            found = [Path(file) for name, file in files_below(uri).items() if _is_partitioned(name)]
    else:
        found = [Path(name) for name in _glob.glob(str(path), recursive=True) if Path(name).is_file()]  # noqa: PTH207
        if not found:
            raise DataError("no file, folder or match of the pattern exists", where=uri)
    named = sorted(str(f) for f in found if _is_data(f.name, suffixes))
    for name in named:
        _check_name(name)
    if not named:
        raise DataError("the folder holds no data file", where=uri, expected=f"files ending in {', '.join(suffixes)}")
    return named


def _check_name(path: str) -> None:
    shown = undecodable(path)
    if shown is not None:
        raise DataError("the name of a file is not UTF-8", where=shown, fix="Rename the file or its folder")


def _is_data(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and name[:1] not in "._"


def _is_partitioned(name: str) -> bool:
    """Whether every folder of a path within another is COLUMN=VALUE."""
    *folders, _ = name.split("/")
    return bool(folders) and all("=" in folder[1:] and folder[0] not in "._" for folder in folders)


def _list_remote_files(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    found, alone = remote_folders.find(uri)
    if alone:
        return [uri]
    if not any(_is_data(each.uri.rsplit("/", 1)[1], suffixes) for each in found):
        partitioned = [file for name, file in files_below(uri).items() if _is_partitioned(name)]
        if named := [file for file in partitioned if _is_data(file.rsplit("/", 1)[1], suffixes)]:
            return named
    if not found:
        raise DataError("no file, folder or match of the pattern exists", where=uri)
    named = [o.uri for o in found if _is_data(o.uri.rsplit("/", 1)[1], suffixes)]
    if not named:
        raise DataError("the folder holds no data file", where=uri, expected=f"files ending in {', '.join(suffixes)}")
    return named


def files_below(uri: str) -> dict[str, str]:
    """All files below a folder, including hidden ones: their URIs by relative path, sorted.

    Linked folders, as in volumes of Kubernetes, are followed, each once.
    """
    if is_remote(uri):
        prefix = join(uri, "")
        found = {each.uri.removeprefix(prefix): each.uri for each in remote_folders.below(uri)}
        # Consoles represent a folder by an empty object whose name ends with a slash.
        return {name: found[name] for name in sorted(found) if name and not name.endswith("/")}
    root, files, seen = local_path(uri), {}, set()
    for folder, folders, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = [each for each in folders if os.path.realpath(os.path.join(folder, each)) not in seen]  # noqa: PTH118
        for name in names:
            path = Path(folder, name)
            files[path.relative_to(root).as_posix()] = str(path)
    return dict(sorted(files.items()))


def names_below(uri: str) -> set[str]:
    """The names directly below `uri` in an object store; empty where an upload by headrace was killed."""
    return remote_folders.names_below(uri)


def upload_folder(folder: Path, uri: str, last: str, check: Callable[[], None] = lambda: None) -> None:
    """Replaces the objects below `uri` by the files of a local folder, `last` last.

    `check` is called before the first change; an error that it raises leaves `uri` unchanged.
    """
    remote_folders.upload_tree(folder, uri, last, check)


def fingerprint(paths: Sequence[str]) -> str:
    """Data version: SHA-256 over the names and contents of files, in hexadecimal.

    Files in an object store count by their size and the store's checksum, and are not read.
    """
    total = hashlib.sha256()
    for name in paths:
        if is_remote(name):
            known = remote_folders.describe(name)
            total.update(f"{known.name.rsplit('/', 1)[-1]}\0{known.bytes} {known.checksum}\n".encode())
            continue
        content = hashlib.sha256()
        with local_path(name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                content.update(chunk)
        total.update(f"{local_path(name).name}\0{content.hexdigest()}\n".encode())
    return total.hexdigest()
