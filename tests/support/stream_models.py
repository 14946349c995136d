"""Registered Models of a tiny SavedModel, with the events that announce them, good and bad ones."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from support.tiny_model import save

from headrace.components.registry.folder.registry import Registry
from headrace.core.artifacts.registered import digest_of_record
from headrace.core.model_events.event import ModelEvent

APP = "births"


class StreamModels:
    """Makes registered Models with their events.

    Args:
        folder: of the registry and what it is made of.
        make_model: as the fixture `make_model`.
        app: the application.
    """

    def __init__(self, folder: Path, make_model, app: str = APP) -> None:  # type: ignore[no-untyped-def]
        self._folder = folder
        self._make = make_model
        self.app = app
        self._registry = Registry(str(folder / "registry"))

    def event(self, version: str, epoch: int, *, bias: float = 1.0) -> ModelEvent:
        """A good Model, whose predictions are `expected_weight(row, bias)`, and its event."""
        model = self._make(self._folder / "made" / version, version, golden_offset=bias - 1.0)
        if bias != 1.0:
            shutil.rmtree(model / "saved_model")
            save(model / "saved_model", bias=bias)
        return self._registered(version, epoch)

    def wrong(self, version: str, epoch: int) -> ModelEvent:
        """A Model whose predictions differ from its golden rows."""
        self._make(self._folder / "made" / version, version, golden_offset=0.25)
        return self._registered(version, epoch)

    def nan(self, version: str, epoch: int) -> ModelEvent:
        """A Model whose prediction of a golden row is NaN."""
        model = self._make(self._folder / "made" / version, version)
        golden = json.loads((model / "golden.json").read_text())
        golden["instances"][1]["mother_age"] = 99
        (model / "golden.json").write_text(json.dumps(golden))
        return self._registered(version, epoch)

    def half_copied(self, event: ModelEvent, version: str, epoch: int) -> ModelEvent:
        """A copy of a Model that lacks half of a file."""
        place = self._folder / "copies" / version
        shutil.copytree(event.model, place)
        file = place / "saved_model" / "saved_model.pb"
        os.truncate(file, file.stat().st_size // 2)
        return replace(event, epoch=epoch, model=str(place))

    def unreachable(self, event: ModelEvent, version: str, epoch: int) -> ModelEvent:
        """An event whose Model is not there."""
        return replace(event, epoch=epoch, version=version, model=str(self._folder / "absent" / version))

    def _registered(self, version: str, epoch: int) -> ModelEvent:
        self._registry.register(str(self._folder / "made" / version))
        place = self._registry.path(version)
        return ModelEvent(self.app, epoch, "promote", version, place, digest_of_record(place))


def rollback(event: ModelEvent, epoch: int) -> ModelEvent:
    """A newer event that names an older version."""
    return replace(event, epoch=epoch, action="rollback")
