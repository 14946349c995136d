"""Request log reader: the batches of complete files, oldest first, whether spooled or converted to Parquet."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.parquet import read_parquet
from headrace.components.request_log.spool import SPOOLED, complete_files, read_spooled, spooled_name
from headrace.core import storage


def read_batches(folder: str, *, version: str | None = None, since: float = 0.0) -> Iterator[LoggedBatch]:
    """The logged batches of a folder, by file from the oldest; a file that is removed meanwhile is left out.

    Args:
        folder: of the request log; one that does not exist has no batches.
        version: of the model; None for all.
        since: earliest time of a batch, in seconds since the epoch.

    Raises:
        DataError: a file is damaged.
    """
    files = complete_files(storage.local_path(folder))
    spooled = {path for path in files if path.suffix == SPOOLED}
    for path in files:
        if path.suffix != SPOOLED and spooled_name(path) in spooled:
            # Its conversion was not finished.
            continue
        try:
            batches = list(read_spooled(path) if path.suffix == SPOOLED else read_parquet(path))
        except FileNotFoundError:
            # Removed as too old, or converted: then its rows are missing from this reading alone.
            continue
        for batch in batches:
            if batch.time >= since and version in (None, batch.version):
                yield batch
