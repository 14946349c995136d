"""Data version of a pipeline step, computed from the data if no version is passed."""

from __future__ import annotations

from headrace.core.sources.csv_dialect import CsvDialect, options_of


def version_of(data: str, given: str, csv: str) -> str:
    """The passed version, or else the fingerprint of the present data.

    Args:
        data: as in `sources.list_paths`; "" has no version.
        given: the version, or "".
        csv: options of the CSV dialect, as a JSON list.
    """
    if given or not data:
        return given
    # With a passed version, as from `headrace submit`, the libraries that read rows need not be installed.
    from headrace.core.sources import open as sources

    return sources.data_version(sources.list_paths(data), CsvDialect.parse(options_of(csv)))
