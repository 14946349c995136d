"""Request log options: the folder, the sampled fraction, and the bounds of queue, files and folder."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.core import storage
from headrace.core.checks import check_count, check_fraction, check_positive
from headrace.core.errors import UsageError

SHARE = 0.1


@dataclass(frozen=True)
class RequestLogConfig:
    """Options of a request log.

    Args:
        folder: on this machine, or on gs:// or s3://; several servers may share it.
        share: fraction of the rows to log, in [0, 1].
        queue_bytes: maximum memory of rows that wait to be written; rows beyond it are dropped and counted.
        file_bytes: size in bytes at which a file is complete.
        file_s: age in seconds at which a file is complete.
        folder_bytes: maximum size of all complete files; the oldest are removed. Of a bucket, of those that wait to be
            uploaded: there a rule of the bucket removes old files.
        maximum_age_s: maximum age of a complete file, in seconds. A pause between two files counts for a seventh of it
            at most, because a clock that is set is no pause.

    Raises:
        UsageError: a value is not in its range, or the folder is in a store that does not exist.
    """

    folder: str
    share: float = SHARE
    queue_bytes: int = 16 << 20
    file_bytes: int = 16 << 20
    file_s: float = 10.0
    folder_bytes: int = 1 << 30
    maximum_age_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        where = "RequestLogConfig"
        if not storage.is_remote(self.folder):
            storage.local_path(self.folder)
        check_fraction(self.share, "share", where=where)
        for name in ("queue_bytes", "file_bytes", "folder_bytes"):
            check_count(getattr(self, name), name, where=where)
        for name in ("file_s", "maximum_age_s"):
            check_positive(getattr(self, name), name, where=where)


def request_log_of(folder: str | None, share: float | None) -> RequestLogConfig | None:
    """The request log of a server's options; None without a folder.

    Args:
        folder: of the log.
        share: fraction of the rows; None for the default.

    Raises:
        UsageError: a share without a folder, or a value that is not valid.
    """
    if folder is None:
        if share is not None:
            raise UsageError("the request log has a fraction and no folder", expected="--request-log DIR as well")
        return None
    return RequestLogConfig(folder, SHARE if share is None else share)
