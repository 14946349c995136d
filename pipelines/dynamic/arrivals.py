"""Arrivals of dynamic training: new data and requests to train, as data versions in the ledger's inbox."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from datetime import datetime

from headrace.components.ingest.window import Window
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import FROM_SCRATCH, Arrival, data_version_of
from headrace.core.steps.step import identity
from headrace.pipelines.dynamic.machine import check_machine
from headrace.pipelines.dynamic.settings import DynamicSettings

__all__ = ["FROM_SCRATCH", "arrive", "request"]


def arrive(
    settings: DynamicSettings,
    *,
    data: str,
    span: str,
    reason: str,
    event: str,
    now: datetime,
    data_version: str = "",
) -> Arrival:
    """Adds data to the inbox. The same data of the same span is one arrival, however often it is announced.

    Args:
        settings: settings of the dynamic training.
        data: the rows, in a form that tasks can read: a path, a glob, gs://... or bigquery://...
        span: name of the span, such as a day.
        reason: why it is announced, such as "file".
        event: id of the event; "" if there is none.
        now: time of the announcement, with a time zone.
        data_version: fingerprint of the data; measured if "".

    Returns:
        The arrival in the inbox; for repeated data, the first one.

    Raises:
        UsageError: the span is missing or does not fit the window, the inbox cannot be written, or the data is a path
            and the runs are on another machine.
        DataError: the data does not exist.
        PlatformError: the disk or the service failed; announcing it again is safe.
    """
    if not span:
        raise UsageError("the data has no span", where=data, expected="the name of a span, such as 2026-11-20")
    Window(settings.last_spans, settings.last_days).check(span)
    if "://" not in data:
        # Only the machine of the runs can read the path.
        check_machine(settings)
    if not data_version:
        # Imported here, because triggers that know the version have no library that reads rows.
        from headrace.core.sources.csv_dialect import CsvDialect
        from headrace.core.sources.open import data_version as measure_version
        from headrace.core.sources.open import list_paths

        if "://" not in data:
            data = str(storage.local_path(data).absolute())
        data_version = measure_version(list_paths(data), CsvDialect.parse(settings.csv))
    return _add(
        settings, Arrival(_version(settings, span, data_version), span, data, data_version, reason, event, _at(now))
    )


def request(settings: DynamicSettings, *, reason: str, event: str, now: datetime) -> Arrival:
    """Adds a request to train on the existing data.

    Without an event id, a request that waits is not added again. A request whose run is under way is added again only
    if the next run would differ: the settings changed, such as a withdrawn span, or a span arrived after its start.

    Args:
        settings: settings of the dynamic training.
        reason: why, such as "schedule"; `FROM_SCRATCH` trains without a warm start.
        event: id of the request. Each id is one request, however often it is added; "" for no id.
        now: time of the request, with a time zone.

    Returns:
        The request in the inbox.

    Raises:
        UsageError: the inbox cannot be written.
        PlatformError: the disk or the service failed; requesting again is safe.
    """
    data_version = f"event {event}" if event else _open_request(settings, reason)
    return _add(settings, Arrival(_version(settings, "", data_version), "", "", data_version, reason, event, _at(now)))


def _open_request(settings: DynamicSettings, reason: str) -> str:
    """The first request of a reason, with the current settings, that is not done. Such requests are numbered."""
    state = settings.ledger.state()
    under_way = () if state.run is None else state.run.versions
    present = identity("settings", settings=settings.to_json())
    requests = (f"{reason} {number}, settings {present}" for number in itertools.count(1))
    return next(
        one
        for one in requests
        if (version := _version(settings, "", one)) not in state.done
        and not (version in under_way and _has_newer_spans(settings, {*state.done, *under_way}))
    )


def _has_newer_spans(settings: DynamicSettings, known: Collection[str]) -> bool:
    """Whether a span arrived that is not one of the known data versions."""
    inbox = settings.ledger.inbox
    return any(arrival.span for arrival in inbox.read([one for one in inbox.versions() if one not in known]))


def _version(settings: DynamicSettings, span: str, data_version: str) -> str:
    return data_version_of(settings.digests["schema_digest"], span, data_version)


def _at(now: datetime) -> str:
    return now.isoformat(timespec="seconds")


def _add(settings: DynamicSettings, arrival: Arrival) -> Arrival:
    ledger = settings.ledger
    if ledger.arrive(arrival):
        return arrival
    return ledger.inbox.read([arrival.version])[0]
