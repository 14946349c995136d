"""The version of the data that a step of a pipeline works on, where nobody told it one."""

from __future__ import annotations

from headrace.core.sources.csv_dialect import CsvDialect, options_of


def version_of(data: str, given: str, csv: str) -> str:
    """The version that was given, or else that of what is there now.

    Args:
        data: as `sources.list_paths` takes it; "" has no version.
        given: the version, or "".
        csv: how CSV is written, as a JSON list.
    """
    if given or not data:
        return given
    # Where the version is given, as `headrace submit` does, the libraries that read rows need not be there.
    from headrace.core.sources import open as sources

    return sources.data_version(sources.list_paths(data), CsvDialect.parse(options_of(csv)))
