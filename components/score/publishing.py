"""Where readers look for Predictions: every published one in a folder of its own, and a file that names the current.

`versions/IDENTITY/` is a Predictions artifact; `current.json` names the one to be read and the one before it. A reader
that has opened a file keeps it; the next look at `current.json` shows the new one, whole.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from headrace.components import storage
from headrace.components.errors import DataError
from headrace.components.file_lock import locked
from headrace.components.score.manifest import PredictionsManifest

FORMAT = 1
NAME = "current.json"


@dataclass(frozen=True)
class Published:
    """What is current now.

    Attributes:
        uri: the Predictions.
        identity: theirs.
        previous: the ones before them, or None.
    """

    uri: str
    identity: str
    previous: str | None


def publish(predictions: str, destination: str) -> Published:
    """Copies Predictions to where readers look, and makes them the current ones; again, it changes nothing.

    Args:
        predictions: a Predictions artifact that was checked.
        destination: the folder of all published ones of a problem.

    Raises:
        DataError: it is no whole artifact, or what is published is damaged.
        UsageError: the destination cannot be written.
        PlatformError: the disk is full, another process publishes there, or the service failed.
    """
    manifest = PredictionsManifest.read(predictions)
    target = storage.join(destination, "versions", manifest.identity)
    with nullcontext() if storage.is_remote(destination) else locked(destination):
        if not storage.exists(storage.join(target, "manifest.json")):
            with (
                storage.at_hand(predictions) as source,
                storage.publishing(target) as folder,
                storage.writing(target),
            ):
                shutil.copytree(source, folder, dirs_exist_ok=True)
        before = current(destination)
        identity = before.get("current")
        previous = before.get("previous") if identity == manifest.identity else identity
        now = {
            "format": FORMAT,
            "current": manifest.identity,
            "previous": previous,
            "model_version": manifest.model_version,
            "sink": manifest.sink,
            "rows": manifest.rows_out,
            "destination": manifest.destination,
        }
        if now != before:
            storage.write_json(storage.join(destination, NAME), now)
    return Published(target, manifest.identity, previous)


def current(destination: str) -> dict[str, Any]:
    """What `current.json` says; {} where nothing is published.

    Raises:
        DataError: it is damaged.
    """
    where = storage.join(destination, NAME)
    if not storage.exists(where):
        return {}
    found = storage.read_json(where)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError("the file does not name the current predictions", where=where, expected=f"format {FORMAT}")
    return found
