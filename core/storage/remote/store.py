"""Object store: what every store does alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

SCHEMES = ("gs://", "s3://")


@dataclass(frozen=True)
class StoredObject:
    """An object in a bucket.

    Attributes:
        scheme: gs:// or s3://.
        bucket, name: of the object.
        bytes: its size.
        checksum: that the service lists: the CRC-32C in base64 on gs://, the ETag on s3://. Equal checksums mean equal
            content; on s3:// equal content may have another ETag, as that depends on how it was uploaded and encrypted.
        created: when it was written, in seconds since 1970; 0 if unknown.
    """

    scheme: str
    bucket: str
    name: str
    bytes: int
    checksum: str
    created: float = 0.0

    @property
    def digest(self) -> tuple[str, str]:
        """The kind of the checksum, crc32c or etag, and the checksum."""
        return ("crc32c" if self.scheme == "gs://" else "etag"), self.checksum

    @property
    def uri(self) -> str:
        """SCHEME://bucket/name."""
        return f"{self.scheme}{self.bucket}/{self.name}"


class Store(Protocol):
    """An object store; a module of this package.

    All functions raise:
        UsageError: a name is not valid, the bucket does not exist, no credentials, or access is denied.
        PlatformError: the service failed, or did not respond in time.
    """

    def parse(self, uri: str) -> tuple[str, str]:
        """Splits a URI into bucket and object name; the name is "" for the bucket itself."""

    def look_up(self, uri: str) -> StoredObject | None:
        """Looks up an object; None if it does not exist."""

    def list_objects(
        self, uri: str, prefix: str, *, direct: bool = False, limit: int | None = None
    ) -> list[StoredObject]:
        """The objects of the bucket of `uri` whose names begin with `prefix`, sorted by name.

        Args:
            uri: in the bucket, and for messages.
            prefix: of the names.
            direct: leaves out objects with a slash after the prefix.
            limit: maximum number of objects.
        """

    def read_bytes(self, uri: str) -> bytes:
        """The whole content of an object. Raises FileNotFoundError where it does not exist."""

    def write_bytes(self, uri: str, content: bytes) -> None:
        """Writes an object atomically: the service shows it only when it is complete."""

    def open_input(self, uri: str) -> BinaryIO:
        """Opens an object as a seekable binary file. Raises FileNotFoundError where it does not exist."""

    def upload(self, source: Path, uri: str) -> None:
        """Copies a local file to an object."""

    def download(self, uri: str, target: Path) -> None:
        """Copies an object to a local file. Raises FileNotFoundError where it does not exist."""

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the service. Raises FileNotFoundError where it does not exist."""

    def remove(self, uris: Sequence[str]) -> None:
        """Removes objects; a missing one is not an error."""


class ConditionalWrites(Protocol):
    """Conditional reads and writes of an object store; a module of this package. Errors as of `Store`."""

    def read(self, uri: str) -> tuple[bytes, str] | None:
        """The content of an object and its token; None where it does not exist."""

    def write(self, uri: str, content: bytes, token: str | None = None) -> bool:
        """Writes an object if its token is still `token`; with None, if it does not exist.

        Returns:
            Whether it was written. A write whose answer was lost counts as made, also if others wrote since.
        """


def is_remote(uri: str) -> bool:
    """Whether `uri` is in an object store."""
    return uri.startswith(SCHEMES)
