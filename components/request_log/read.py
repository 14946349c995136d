"""Request log reader: complete files, oldest first, whether spooled or converted to Parquet, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.parquet import read_parquet
from headrace.components.request_log.spool import (
    SPOOLED,
    complete_files,
    is_complete,
    read_spooled,
    spooled_name,
    writer_of,
)
from headrace.core import storage


@dataclass(frozen=True)
class LogFile:
    """A complete file of a request log.

    Attributes:
        name: its name, which a conversion to Parquet does not change.
        uris: of the spooled file, or of the Parquet files that it was converted to.
    """

    name: str
    uris: tuple[str, ...]

    @property
    def writer(self) -> str:
        """The process that wrote it, as of `writer_of`."""
        return writer_of(self.name)

    def batches(self) -> list[LoggedBatch]:
        """The batches of the file.

        Raises:
            DataError: the file is damaged.
            FileNotFoundError: it was removed or converted since it was listed.
            PlatformError: the store failed.
        """
        batches: list[LoggedBatch] = []
        for uri in self.uris:
            with storage.file_at_hand(uri) as path:
                batches += read_spooled(path) if path.suffix == SPOOLED else read_parquet(path)
        return batches


def log_files(folder: str) -> list[LogFile]:
    """The complete files of a request log, oldest first; a folder that does not exist has none."""
    if storage.is_remote(folder):
        # Nothing is converted there.
        names = sorted(name for name in storage.files_below(folder) if is_complete(name))
        return [LogFile(name, (storage.join(folder, name),)) for name in names]
    spooled: dict[str, Path] = {}
    converted: dict[str, list[Path]] = {}
    for path in complete_files(storage.local_path(folder)):
        if path.suffix == SPOOLED:
            spooled[path.name] = path
        else:
            converted.setdefault(spooled_name(path).name, []).append(path)
    # As long as the spooled file is there, its conversion may be unfinished.
    return [
        LogFile(name, tuple(map(str, (spooled[name],) if name in spooled else converted[name])))
        for name in sorted(spooled.keys() | converted.keys())
    ]


def read_batches(folder: str, *, version: str | None = None, since: float = 0.0) -> Iterator[LoggedBatch]:
    """The logged batches of a folder, by file from the oldest; a file that is removed meanwhile is left out.

    Args:
        folder: of the request log; one that does not exist has no batches.
        version: of the model; None for all.
        since: earliest time of a batch, in seconds since the epoch.

    Raises:
        DataError: a file is damaged.
    """
    for file in log_files(folder):
        try:
            batches = file.batches()
        except FileNotFoundError:
            continue
        for batch in batches:
            if batch.time >= since and version in (None, batch.version):
                yield batch
