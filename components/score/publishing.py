"""Publication of Predictions: each published artifact in its own folder, and a file that names the current one.

`current.json` names the current and the previous one, and is changed by compare-and-set. A reader with an open file is
not affected; reading `current.json` again shows the complete new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.score.checking import check
from headrace.core import storage
from headrace.core.artifacts.kinds import PUBLISHED
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.artifacts.published import FORMAT, NAME, checked, current, look, version_uri, write_time
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.compare_and_set import update_json
from headrace.core.storage.lock import locked
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_output

# Publications that `current.json` remembers.
_EARLIER = 20


@dataclass(frozen=True)
class Publication:
    """The current publication.

    Attributes:
        uri: the Predictions.
        identity: their identity.
        previous: the identity of the previous ones, or None.
    """

    uri: str
    identity: str
    previous: str | None


def publish(predictions: str, destination: str) -> Publication:
    """Copies Predictions to the published folder, and makes them current; a repeated call changes nothing.

    A published copy that is damaged is replaced.

    Args:
        predictions: a checked Predictions artifact.
        destination: the folder of all published Predictions of a Problem.

    Raises:
        DataError: the Predictions, or the published ones, are damaged.
        UsageError: the folder holds no Predictions, or the destination cannot be written.
        PlatformError: the disk is full, another process publishes there, or the service failed.
    """
    check_output(destination, PUBLISHED, option="the destination", inputs={"the predictions": predictions})

    def copy(folder: Path) -> None:
        with storage.at_hand(predictions) as source, storage.writing(destination):
            shutil.copytree(source, folder, dirs_exist_ok=True)

    return publish_made(destination, PredictionsManifest.read(predictions).identity, copy)


def publish_made(destination: str, identity: str, make: Callable[[Path], None]) -> Publication:
    """Makes Predictions in the published folder, if they are not there and whole, and makes them current.

    Args:
        destination: the checked folder of all published Predictions.
        identity: of the Predictions.
        make: writes them to an empty folder.

    Raises:
        DataError, UsageError, PlatformError: as for `publish`, and of `make`.
    """
    target = version_uri(destination, identity)
    with nullcontext() if storage.is_remote(destination) else locked(destination):
        if not _is_whole(target):
            with publishing(target, None) as folder:
                make(folder)
                write_time(str(folder))
    manifest = PredictionsManifest.read(target)

    def change(found: Any) -> dict[str, Any]:
        before = checked(found, destination)
        identity = before.get("current")
        again = identity == manifest.identity
        previous = before.get("previous") if again else identity
        earlier = before.get("earlier", [])
        if identity and not again:
            earlier = [*earlier, [identity, before["model_version"]]][-_EARLIER:]
        return _naming(manifest, previous, before.get("rolled_back_from") if again else None, earlier)

    now = update_json(storage.join(destination, NAME), change)
    return Publication(target, manifest.identity, now["previous"])


def _is_whole(predictions: str) -> bool:
    """Whether Predictions are there, and all of their files are as the manifest lists them."""
    try:
        return is_there("Predictions", predictions) and bool(check(predictions))
    except DataError:
        return False


def rollback(destination: str, to: str | None = None) -> Publication:
    """Makes the previous Predictions current again, after a check of all their files.

    The replaced ones do not become `previous`, and a repeated rollback changes nothing: running it twice never brings
    back the rejected predictions. `to` selects other ones, older or newer.

    Args:
        destination: the folder of all published Predictions of a Problem.
        to: the identity of the Predictions to restore; None for the previous ones.

    Raises:
        DataError: their files do not match their manifest, or a published file is damaged.
        UsageError: nothing is published, no previous ones exist, `to` does not exist, or their table was replaced.
        PlatformError: another process publishes there, or the service failed.
    """
    look(destination)

    def change(found: Any) -> dict[str, Any]:
        before = checked(found, destination)
        target = to or before.get("previous")
        if target is None and before.get("rolled_back_from"):
            target = before["current"]
        if target is None:
            raise UsageError(
                "no earlier predictions exist to return to",
                where=destination,
                expected="a previous publication",
                received=f"{before['current']} is the first",
                fix="Score with another version of the model: headrace run batch-scoring --version",
            )
        uri = version_uri(destination, target)
        if not target.isalnum() or not is_there("Predictions", uri):
            raise UsageError("the predictions do not exist", where=uri, received=target)
        manifest = check(uri).manifest
        if manifest.destination is not None:
            raise UsageError(
                "the predictions are in a table, which later ones have replaced",
                where=manifest.destination,
                expected="predictions whose files are published",
                fix="Restore the table as its service allows, or score again with the model that predicted them, "
                f"version {manifest.model_version}",
            )
        fled = before.get("rolled_back_from") if target == before["current"] else before["current"]
        earlier = before.get("earlier", [])
        known = [one for one, _ in earlier]
        return _naming(manifest, None, fled, earlier[: known.index(target)] if target in known else earlier)

    target = update_json(storage.join(destination, NAME), change)["current"]
    return Publication(version_uri(destination, target), target, None)


def last_not_of(destination: str, version: str) -> str | None:
    """The identity of the last publication before the current one that a version of the model did not make.

    Args:
        destination: the folder of all published Predictions of a Problem.
        version: of the model.

    Returns:
        None where there is none.

    Raises:
        DataError: `current.json`, or the manifest of the previous Predictions, is damaged.
    """
    found = current(destination)
    made_by: dict[str, str] = dict(found.get("earlier", []))
    previous = found.get("previous")
    if previous and previous not in made_by:
        # It was published by a release that did not note it.
        uri = version_uri(destination, previous)
        if is_there("Predictions", uri):
            made_by[previous] = PredictionsManifest.read(uri).model_version
    return next((identity for identity, by in reversed(made_by.items()) if by != version), None)


def _naming(
    manifest: PredictionsManifest, previous: str | None, fled: str | None, earlier: list[list[str]]
) -> dict[str, Any]:
    """The content of `current.json` that names the Predictions of a manifest."""
    return {
        "format": FORMAT,
        "current": manifest.identity,
        "previous": previous,
        "model_version": manifest.model_version,
        "sink": manifest.sink,
        "rows": manifest.rows_out,
        "destination": manifest.destination,
        **({"rolled_back_from": fled} if fled else {}),
        **({"earlier": earlier} if earlier else {}),
    }
