"""`headrace rollback --announce`: scorers hear of a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers.pipeline_platforms import headrace
from support.rollout_world import World, world

from headrace.core.model_events.candidates import Candidates
from headrace.core.model_events.event import ModelEvent

__all__ = ["world"]


def test_a_rollback_is_a_newer_event_of_an_older_version(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "events")
    assert world.roll_out().outcome == "promoted"
    promoted = headrace("registry", "promote", world.registry.folder, "v2", "--announce", folder)
    assert promoted.status == 0, promoted.error
    done = headrace("rollback", world.folder.uri, "--announce", folder)
    assert done.status == 0, done.error
    assert f"announced epoch {world.registry.state().epoch}, v1, to {folder}" in capfd.readouterr().out
    candidates = Candidates()
    # In whatever order they come.
    for file in sorted(Path(folder).glob("*.json"), reverse=True):
        candidates.add(ModelEvent.decode(file.read_bytes(), str(file)))
    newest = candidates.next(0.0)
    assert newest is not None
    assert newest.app == "natality"
    assert (newest.version, newest.action) == ("v1", "rollback")
    # Again: nothing changes, and the same event is sent.
    assert headrace("rollback", world.folder.uri, "--announce", folder).status == 0
    assert len(list(Path(folder).glob("*.json"))) == 2


def test_a_destination_is_checked_before_anything_changes(world: World) -> None:
    before = world.outcome()
    done = headrace("rollback", world.folder.uri, "--announce", "kafka://x")
    assert (done.status, "the destination of model events is not valid" in done.error) == (2, True)
    assert world.outcome() == before
