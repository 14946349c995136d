"""Quarantine files: those in the manifest of Examples, Predictions or a failed run, or those of a plain folder."""

from __future__ import annotations

from headrace.core import storage
from headrace.core.artifacts import set_aside
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.kinds import QUARANTINE
from headrace.core.artifacts.plain_json import parsing
from headrace.core.artifacts.predictions import PredictionsManifest


def quarantine_files(uri: str) -> list[str]:
    """The quarantine files of an artifact, in the order of its manifest, or those of a folder, sorted by name.

    Raises:
        DataError: neither a manifest nor a quarantine file exists, or the manifest is damaged.
    """
    where = storage.join(uri, QUARANTINE.manifest)
    if not storage.exists(where):
        return storage.list_files(uri, (".jsonl",))
    plain = storage.read_json(where)
    with parsing(where):
        if plain.get("kind") == QUARANTINE.kind:
            return [storage.join(uri, name) for name in set_aside.files_in(plain)]
        if "sink" in plain:
            return [storage.join(uri, name) for name in PredictionsManifest.read(uri).quarantine.files]
    manifest = Manifest.from_json(plain, where)
    # The quarantine files of a window are in the folder of spans.
    return [storage.join(manifest.files_in or uri, name) for name in manifest.quarantine.files]
