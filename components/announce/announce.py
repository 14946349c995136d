"""Announcement of a registry's champion to all destinations that have not accepted it yet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.announce.destinations import name_of, send
from headrace.components.announce.events import event_of
from headrace.components.registry.base import ModelRegistry
from headrace.core.errors import DataError, HeadraceError
from headrace.core.model_events.event import ModelEvent
from headrace.core.signals import Terminated
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json

_FORMAT = 1


@dataclass(frozen=True)
class AnnounceResult:
    """Result of an announcement.

    Attributes:
        event: the event of the champion; None if the champion or a destination does not exist.
        sent: destinations that accepted it in this call.
        failed: pairs of a destination that did not accept it, and the error. The next call retries them.
    """

    event: ModelEvent | None
    sent: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def announce(registry: ModelRegistry, app: str, destinations: Sequence[str], record: str) -> AnnounceResult:
    """Sends the event of the registry's champion to every destination that has not accepted it yet.

    A destination that fails raises no error: the next call retries it.

    Args:
        registry: registry of the application's models.
        app: name of the application.
        destinations: destinations, as of `check_destination`.
        record: URI of the file that stores the last epoch that each destination accepted.

    Raises:
        UsageError: the name of the application is not valid, or access to the registry or the record is denied.
        DataError: the registry or the record is damaged, or headrace did not promote the champion.
        PlatformError: the disk or the service failed, or the process is terminated.
    """
    event = event_of(registry, app) if destinations else None
    if event is None:
        return AnnounceResult(None)
    known = _known(record)
    sent: list[str] = []
    failed: list[tuple[str, str]] = []
    for destination in destinations:
        if known.get(_key(destination), 0) >= event.epoch:
            continue
        try:
            send(event, destination)
        except Terminated:
            raise
        except HeadraceError as error:
            # The error of a webhook names only its host.
            failed.append((name_of(destination), error.paragraph))
            continue
        _accept(record, destination, event.epoch)
        sent.append(name_of(destination))
    return AnnounceResult(event, tuple(sent), tuple(failed))


def _accept(record: str, destination: str, epoch: int) -> None:
    def change(content: Any) -> Any:
        known = {} if content is None else _parsed(content, record)
        key = _key(destination)
        known[key] = max(epoch, known.get(key, 0))
        return {"kind": "Announced", "format": _FORMAT, "epochs": dict(sorted(known.items()))}

    update_json(record, change)


def _known(record: str) -> dict[str, int]:
    found = read_with_token(record)
    return {} if found is None else _parsed(json_of(found.content, record), record)


def _parsed(content: Any, record: str) -> dict[str, int]:
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        return {str(key): int(epoch) for key, epoch in content["epochs"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "the record of announcements is damaged",
            where=record,
            received=f"{type(error).__name__}: {error}",
            fix="Remove it: events are then sent again, which is safe",
        ) from error


def _key(destination: str) -> str:
    """The key of a destination in the record: a digest, because the URL of a webhook is a secret."""
    return hashlib.sha256(destination.encode()).hexdigest()[:16]
