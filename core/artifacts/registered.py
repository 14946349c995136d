"""Registered Model: the record in its folder, with the digest of every file, which detects damage before use.

`registered.json` is written once, when a Model is registered, and travels with every copy of the Model: to an endpoint,
a container or another bucket. A Model that was never registered has no record, and is not verified.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError
from headrace.core.storage.remote import StoredObject, folders

RECORD = "registered.json"
_FORMAT = 1
_CHUNK = 1 << 20
_FIX = "Restore the file from a backup, or train again"


@dataclass(frozen=True)
class FileDigest:
    """Size and digests of a file.

    Attributes:
        bytes: its size.
        sha256: of its content, in hexadecimal.
        listed: kind and value of the checksum that an object store lists, such as ("crc32c", "AAAAAA=="); None for a
            file on a disk. Equal checksums of the same kind mean equal content; unequal ones prove no difference.
    """

    bytes: int
    sha256: str
    listed: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """The digest in a record."""
        known = {"bytes": self.bytes, "sha256": self.sha256}
        return known if self.listed is None else {**known, self.listed[0]: self.listed[1]}


def measure(folder: str) -> dict[str, FileDigest]:
    """The digests of all files of a Model except its record, by relative path, sorted.

    Files are read in parallel, a MiB of each at a time.

    Args:
        folder: the Model, on a disk or in an object store.

    Raises:
        PlatformError: a file cannot be read.
    """
    files = {name: uri for name, uri in storage.files_below(folder).items() if name != RECORD}
    listed = _listed(folder)
    with ThreadPoolExecutor(_threads()) as pool:
        digests = pool.map(_digest, files.values())
        return {
            name: FileDigest(size, digest, listed[name].digest if name in listed else None)
            for name, (size, digest) in zip(files, digests, strict=True)
        }


def verify(folder: str, *, threads: int | None = None) -> bool:
    """Checks a registered Model against its record: first that all files have their sizes, then their content.

    In an object store the service's checksums are compared, and only files with a different checksum are read. Files
    that the record does not name are ignored.

    Args:
        folder: the Model.
        threads: that read files side by side; with 1 this thread reads them. None for two per core, up to 8.

    Returns:
        Whether the Model has a record.

    Raises:
        DataError: a file or the record is missing or damaged.
        PlatformError: a file cannot be read.
    """
    if not storage.exists(storage.join(folder, RECORD)):
        return False
    verify_files(folder, read_record(folder), threads=threads)
    return True


def verify_files(folder: str, record: Mapping[str, Any], *, threads: int | None = None) -> None:
    """Checks the files of a Model against a record; arguments and errors as of `verify`."""
    expected = files_of(record, storage.join(folder, RECORD))
    found = storage.files_below(folder)
    listed = _listed(folder)
    for name, digest in expected.items():
        where = storage.join(folder, name)
        if name not in found:
            raise DataError("a file of the registered Model is missing", where=where, fix=_FIX)
        size = listed[name].bytes if name in listed else storage.size(found[name])
        if size != digest.bytes:
            raise _damaged(where, f"{digest.bytes} bytes", f"{size} bytes")

    def check(name: str) -> None:
        digest = expected[name]
        if name in listed and listed[name].digest == digest.listed:
            return
        now = _digest(found[name])[1]
        if now != digest.sha256:
            raise _damaged(storage.join(folder, name), f"content with the SHA-256 {digest.sha256}", now)

    if threads == 1:
        for name in expected:
            check(name)
        return
    with ThreadPoolExecutor(threads or _threads()) as pool:
        list(pool.map(check, expected))


def read_record(folder: str) -> dict[str, Any]:
    """The content of a Model's record.

    Raises:
        DataError: the record is missing or damaged.
    """
    where = storage.join(folder, RECORD)
    record = storage.read_json(where)
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise DataError("the record of the registered Model is damaged", where=where, expected=f"format {_FORMAT}")
    return record


def digest_of_record(folder: str) -> str:
    """SHA-256 of a Model's record, in hexadecimal, after a check of the record; errors as of `read_record`."""
    where = storage.join(folder, RECORD)
    files_of(read_record(folder), where)
    return hashlib.sha256(storage.read_bytes(where)).hexdigest()


def check_record(folder: str, digest: str) -> None:
    """Checks that a Model's record is the one with a digest.

    Raises:
        DataError: the record has another digest, or is missing or damaged.
    """
    if digest_of_record(folder) != digest:
        raise DataError(
            "the record of the registered Model is damaged",
            where=storage.join(folder, RECORD),
            expected=f"the record that was registered, with the SHA-256 {digest}",
            fix=_FIX,
        )


def record_of(facts: Mapping[str, Any], files: Mapping[str, FileDigest]) -> dict[str, Any]:
    """The content of a record: facts about the version, and the digests of its files."""
    return {
        "kind": "RegisteredModel",
        "format": _FORMAT,
        **facts,
        "files": {name: files[name].to_json() for name in sorted(files)},
    }


def files_of(record: Mapping[str, Any], where: str) -> dict[str, FileDigest]:
    """The digests in a record.

    Raises:
        DataError: the record is damaged.
    """
    try:
        return {
            str(name): FileDigest(int(file["bytes"]), str(file["sha256"]), _listed_digest(file))
            for name, file in record["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "the record of the registered Model is damaged",
            where=where,
            expected='"files" with bytes and sha256',
            received=repr(error),
            fix=_FIX,
        ) from error


def _listed_digest(file: Mapping[str, Any]) -> tuple[str, str] | None:
    return next(((kind, str(file[kind])) for kind in ("crc32c", "etag") if kind in file), None)


def _damaged(where: str, expected: str, received: str) -> DataError:
    return DataError(
        "a file of the registered Model is damaged", where=where, expected=expected, received=received, fix=_FIX
    )


def _listed(folder: str) -> dict[str, StoredObject]:
    """Objects with size and checksum by relative path; empty for a folder on a disk."""
    if not storage.is_remote(folder):
        return {}
    prefix = storage.join(folder, "")
    return {found.uri.removeprefix(prefix): found for found in folders.below(folder)}


def _digest(uri: str) -> tuple[int, str]:
    """The number of bytes and the SHA-256 of a file."""
    total, size = hashlib.sha256(), 0
    try:
        with storage.open_input(uri) as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise PlatformError("the file cannot be read", where=uri, received=str(error)) from error
    return size, total.hexdigest()


def _threads() -> int:
    return min(8, 2 * (os.cpu_count() or 1))
