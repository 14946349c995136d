"""Announcement of a complete span: measures its data, and adds an arrival if no file changed in the meantime."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.ledger.inbox import Arrival
from headrace.core.text import listed
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.span import ListedSpan

_REASON = "file"


def announce(
    settings: DynamicSettings, span: ListedSpan, again: Callable[[], ListedSpan | None], *, event: str, now: datetime
) -> Arrival | None:
    """Announces a span.

    Args:
        settings: settings of the dynamic training.
        span: the complete span, with its list of files.
        again: lists the span again; None if it is gone.
        event: id of the event; "" if there is none.
        now: current time, with a time zone.

    Returns:
        The arrival; None if a file changed while the data was measured, because a correction may be under way.

    Raises:
        DataError: there is no data, or there are files in folders that would not be read.
        UsageError: the span's name is not valid or does not fit the window, or the inbox cannot be written.
        PlatformError: the disk or the service failed; announcing it again is safe.
    """
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths

    data = span.data if storage.is_remote(span.data) else str(storage.local_path(span.data).absolute())
    paths = list_paths(data)
    _check_all_are_read(span, data, paths)
    version = data_version(paths, CsvDialect.parse(settings.csv))
    after = again()
    if after is None or after.signature != span.signature:
        return None
    return arrive(settings, data=data, span=span.name, reason=_REASON, event=event, now=now, data_version=version)


def _check_all_are_read(span: ListedSpan, data: str, paths: list[str]) -> None:
    """Refuses a span with files in subfolders that are not read, because their rows would be lost silently."""
    if not span.folder:
        return
    read = {path.removeprefix(storage.join(data, "")) for path in paths}
    left = [name for name in span.data_files if "/" in name and name not in read]
    if left:
        raise DataError(
            "the span has files in folders that are not read",
            where=data,
            expected="data files directly in the span's folder, or all of them in folders COLUMN=VALUE",
            received=listed(left),
        )
