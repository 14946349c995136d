"""Model pointer: each event of an application once, from a folder on a disk or in a bucket, or from a registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.stream_models import APP, StreamModels

from headrace.components.announce.destinations import send
from headrace.components.registry.folder.registry import Registry
from headrace.components.stream.pubsub.pointer import ModelPointer
from headrace.core.errors import HeadraceError
from headrace.core.model_events.event import ModelEvent

EVENT = ModelEvent(APP, 1, "promote", "v1", "/models/v1", "0" * 64)


def _pointer(uri: str, app: str = APP) -> tuple[ModelPointer, list[int]]:
    epochs: list[int] = []
    return ModelPointer(uri, app, lambda message, where: epochs.append(ModelEvent.decode(message, where).epoch)), epochs


def test_a_folder_need_not_be_there_and_each_event_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    pointer, epochs = _pointer(str(folder))
    pointer.look()
    assert epochs == []
    send(replace(EVENT, epoch=2), str(folder))
    send(replace(EVENT, app="births2", epoch=7), str(folder))
    (folder / "notes.json").write_text("{}")
    pointer.look()
    send(EVENT, str(folder))
    pointer.look()
    pointer.look()
    # Folding orders them: an older one changes nothing.
    assert epochs == [2, 1]


def test_a_folder_in_a_bucket(bucket: str) -> None:
    uri = f"gs://{bucket}/events"
    pointer, epochs = _pointer(uri)
    pointer.look()
    for epoch in (1, 2):
        send(replace(EVENT, epoch=epoch), uri)
        pointer.look()
    assert epochs == [1, 2]


def test_a_registry_names_its_champion(tmp_path: Path, stream_models: StreamModels) -> None:
    stream_models.event("one", 1)
    stream_models.event("two", 2)
    registry = Registry(str(stream_models._folder / "registry"))
    pointer, epochs = _pointer(registry.where)
    pointer.look()
    assert epochs == []
    for version in ("one", "two", "one"):
        registry.promote(version, approve=True)
        pointer.look()
        pointer.look()
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 3


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    (folder / f"{APP}-0000000001.json").mkdir(parents=True)
    pointer, _ = _pointer(str(folder))
    pointer.look()
    (folder / f"{APP}-0000000002.json").symlink_to(folder / "nowhere")
    with pytest.raises(HeadraceError, match="the model events cannot be read"):
        pointer.look()
