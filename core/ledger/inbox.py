"""Inbox of dynamic training: one small file per data version, created by the first trigger that announces it.

Triggers may run late, twice or concurrently. An arrival is created only if it does not exist, and is never changed or
removed, so the inbox holds each data version exactly once, however often it is announced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.steps.step import identity
from headrace.core.storage.compare_and_set import create_if_absent, json_of, read_with_token
from headrace.core.storage.json_lines import json_bytes

_VERSION = re.compile(r"[0-9a-f]{16}\Z")
_SPAN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
# Reason of an arrival that requests training without a warm start.
FROM_SCRATCH = "from scratch"
# External text, such as the id of an event, is stored for people to read.
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Arrival:
    """A data version that arrived.

    Args:
        version: the data version, from `data_version_of`: 16 hexadecimal digits.
        span: name of the span; "" if the data has no spans.
        data: URI or path of the data.
        data_version: fingerprint of the data: names with generations or checksums.
        reason: why it was announced, such as "file" or "schedule".
        event: id of the event that announced it; "" if there is none.
        at: time of the announcement, ISO 8601 in UTC.

    Raises:
        UsageError: the version or the span is not valid, or a text has more than 1,000 characters.
    """

    version: str
    span: str
    data: str
    data_version: str
    reason: str
    event: str
    at: str

    def __post_init__(self) -> None:
        if not _VERSION.match(self.version):
            raise UsageError("the data version is not valid", expected="16 hexadecimal digits", received=self.version)
        if self.span and not _SPAN.match(self.span):
            raise UsageError(
                "the span is not valid",
                expected="1 to 64 letters, digits, ., - and _, starting with a letter or a digit",
                received=repr(self.span),
            )
        for name, text in asdict(self).items():
            if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
                raise UsageError(
                    f"{name} of the arrival is not valid",
                    expected=f"text of at most {_LONGEST_TEXT:,} characters",
                    received=repr(text)[:100],
                )


def data_version_of(problem: str, span: str, data_version: str) -> str:
    """Digest of a data version. It changes with the schema of the Problem, the span and the content of the data.

    Args:
        problem: digest of the Problem's schema.
        span: name of the span; "" if the data has no spans.
        data_version: fingerprint of the data.

    Returns:
        16 hexadecimal digits.
    """
    return identity("data-version", problem=problem, span=span, data=data_version)


class Inbox:
    """The arrivals of one endpoint, as files VERSION.json.

    Args:
        uri: URI of the folder, which need not exist.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def add(self, arrival: Arrival) -> bool:
        """Adds an arrival; returns whether it is new. An existing arrival is left unchanged.

        Raises:
            UsageError: the folder cannot be written.
            PlatformError: the disk or the service failed; adding it again is safe.
        """
        return create_if_absent(self._file(arrival.version), json_bytes(asdict(arrival)))

    def versions(self) -> list[str]:
        """The data versions that arrived, sorted. Other files in the folder are ignored."""
        names = (name.removesuffix(".json") for name in storage.files_below(self.uri) if name.endswith(".json"))
        return sorted(name for name in names if _VERSION.match(name))

    def read(self, versions: Sequence[str]) -> list[Arrival]:
        """The arrivals of some data versions, sorted by span and version.

        Raises:
            UsageError: a version did not arrive.
            DataError: the file of an arrival is damaged.
        """
        return sorted((self._read(version) for version in versions), key=lambda each: (each.span, each.version))

    def _read(self, version: str) -> Arrival:
        uri = self._file(version)
        found = read_with_token(uri)
        if found is None:
            raise UsageError("the data version did not arrive", where=self.uri, received=version)
        content: Any = json_of(found.content, uri)
        try:
            arrival = Arrival(**content)
        except (TypeError, UsageError) as error:
            raise DataError("the arrival is damaged", where=uri, received=str(error)) from error
        if arrival.version != version:
            raise DataError("the arrival is damaged", where=uri, expected=version, received=arrival.version)
        return arrival

    def _file(self, version: str) -> str:
        return storage.join(self.uri, f"{version}.json")
