"""An application's models: loaded beside the one in use, refused or tried again, and freed."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from typing import Any

import pytest

from headrace.components.stream.models.app_models import AppModels
from headrace.components.stream.models.fold import StreamModels
from headrace.components.stream.models.load import ModelUnreachable
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.core.errors import DataError, PlatformError
from headrace.core.model_events.event import ModelEvent

EVENT = ModelEvent("taxi", 1, "promote", "v1", "/models/v1", "a" * 64)


def of(epoch: int) -> ModelEvent:
    return replace(EVENT, epoch=epoch, version=f"v{epoch}", digest=f"{epoch:064x}")


class Model:
    """What a test loads."""


class Loader:
    """Loads what a test wants, by version.

    Attributes:
        results: the error of a version, as often as it is there; else a model is loaded.
        loaded: versions, in order.
        gate: loading waits for it.
    """

    def __init__(self) -> None:
        self.results: dict[str, list[Exception]] = {}
        self.loaded: list[str] = []
        self.beside: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, event: ModelEvent, present: Any) -> Any:
        self.loaded.append(event.version)
        self.beside.append(present and id(present))
        assert self.gate.wait(600)
        errors = self.results.get(event.version, [])
        if errors:
            raise errors.pop(0)
        return Model()


class Scene:
    def __init__(self) -> None:
        self.load, self.now = Loader(), 0.0
        self.outcomes: list[ModelOutcome] = []
        self.models = AppModels("taxi", self.load, self.outcomes.append, clock=lambda: self.now, chance=lambda: 1.0)

    def turn(self) -> None:
        self.models.tend()
        self.models.wait(600)

    @property
    def version(self) -> str | None:
        return None if self.models.model is None else self.models.model.event.version

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(outcome.kind, outcome.version) for outcome in self.outcomes]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_new_model_is_used_and_an_older_one_is_not_loaded(scene: Scene) -> None:
    scene.turn()
    assert scene.version is None
    scene.models.add(of(2))
    assert not scene.models.settled
    scene.turn()
    assert scene.version == "v2"
    assert scene.models.settled
    scene.models.add(of(1))
    scene.turn()
    assert (scene.version, scene.load.loaded, scene.kinds) == ("v2", ["v2"], [("switched", "v2")])
    used = scene.models.model
    assert used is not None
    scene.models.add(of(3))
    scene.turn()
    assert scene.load.beside == [None, id(used.model)]


def test_tend_does_not_wait_for_a_model_that_loads(scene: Scene) -> None:
    scene.load.gate.clear()
    scene.models.add(of(1))
    scene.models.tend()
    scene.models.tend()
    assert scene.models.loading
    assert scene.version is None
    scene.load.gate.set()
    scene.models.wait(600)
    assert scene.version == "v1"
    assert scene.load.loaded == ["v1"]


def test_a_bad_model_is_refused_once_and_the_old_one_stays(scene: Scene) -> None:
    scene.models.add(of(1))
    scene.turn()
    scene.load.results["v2"] = [DataError("a file is damaged")]
    scene.models.add(of(2))
    for _ in range(3):
        scene.turn()
    assert (scene.version, scene.load.loaded) == ("v1", ["v1", "v2"])
    refused = scene.outcomes[-1]
    assert (refused.kind, refused.version, refused.in_use, refused.reason) == (
        "refused", "v2", "v1", "a file is damaged.",
    )  # fmt: skip
    assert refused.alarming


def test_after_a_restart_the_model_before_a_bad_one_is_used(scene: Scene) -> None:
    scene.load.results["v3"] = [DataError("bad")]
    for epoch in (1, 2, 3):
        scene.models.add(of(epoch))
    scene.turn()
    scene.turn()
    assert (scene.version, scene.kinds) == ("v2", [("refused", "v3"), ("switched", "v2")])


def test_a_model_that_cannot_be_read_is_tried_again_with_back_off(scene: Scene) -> None:
    scene.load.results["v1"] = [ModelUnreachable("no network") for _ in range(5)]
    scene.models.add(of(1))
    attempts = []
    for _ in range(400):
        scene.turn()
        if scene.load.loaded and len(attempts) < len(scene.load.loaded):
            attempts.append(scene.now)
        scene.now += 0.25
        if scene.version:
            break
    # Waits of 0.5, 1, 2, 4 and 8 s.
    assert attempts == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert [outcome.alarming for outcome in scene.outcomes] == [True, True, False, True, False, False]


def test_a_model_that_fails_for_no_stated_reason_is_refused_after_three_attempts(scene: Scene) -> None:
    scene.load.results["v1"] = [PlatformError("the model failed") for _ in range(5)]
    scene.models.add(of(1))
    for _ in range(10):
        scene.turn()
        scene.now += 10
    assert scene.load.loaded == ["v1"] * 3
    assert scene.kinds == [("unreachable", "v1"), ("unreachable", "v1"), ("refused", "v1")]


def test_attempts_to_read_a_model_are_not_failures_of_the_model(scene: Scene) -> None:
    unreachable = [ModelUnreachable("no network") for _ in range(3)]
    scene.load.results["v1"] = [*unreachable, PlatformError("no memory"), PlatformError("no memory")]
    scene.models.add(of(1))
    for _ in range(6):
        scene.turn()
        scene.now += 100
    assert scene.kinds == [("unreachable", "v1")] * 5 + [("switched", "v1")]


def test_an_unexpected_error_refuses_the_model(scene: Scene) -> None:
    scene.load.results["v1"] = [ValueError("protobuf")]
    scene.models.add(of(1))
    scene.turn()
    assert scene.outcomes[0].kind == "refused"
    assert "ValueError: protobuf" in scene.outcomes[0].reason


def test_a_model_that_is_overtaken_while_it_loads_is_never_used(scene: Scene) -> None:
    scene.models.add(of(1))
    scene.turn()
    scene.load.gate.clear()
    scene.models.add(of(2))
    scene.models.tend()
    # The version turned out to be bad: a rollback comes while it is being loaded.
    scene.models.add(replace(of(1), epoch=3, action="rollback"))
    scene.load.gate.set()
    scene.models.wait(600)
    assert scene.version == "v1"
    scene.turn()
    assert scene.models.model is not None
    assert (scene.version, scene.models.model.event.epoch) == ("v1", 3)
    # The model of the rollback is in memory.
    assert scene.load.loaded == ["v1", "v2"]


def test_a_copy_of_the_model_in_use_is_loaded_and_judged(scene: Scene) -> None:
    scene.models.add(of(1))
    scene.turn()
    scene.load.results["v1"] = [DataError("the copy is damaged")]
    scene.models.add(replace(of(1), epoch=2, model="/copies/v1"))
    scene.turn()
    assert scene.kinds == [("switched", "v1"), ("refused", "v1")]
    assert scene.models.model is not None
    assert scene.models.model.event.epoch == 1


def test_a_conflicting_event_changes_nothing_and_is_reported(scene: Scene) -> None:
    scene.models.add(of(1))
    scene.turn()
    scene.models.add(replace(of(1), version="other"))
    scene.turn()
    assert (scene.version, scene.kinds) == ("v1", [("switched", "v1"), ("conflicting", "other")])


def test_models_before_the_previous_one_are_freed(scene: Scene) -> None:
    alive = []
    for epoch in range(1, 5):
        scene.models.add(of(epoch))
        scene.turn()
        assert scene.models.model is not None
        alive.append(weakref.ref(scene.models.model.model))
    gc.collect()
    assert [model() is not None for model in alive] == [False, False, True, True]


def test_messages_are_folded_by_application() -> None:
    load = Loader()
    models = StreamModels(["taxi", "births"], load)
    for app, epoch in (("taxi", 1), ("births", 5), ("other", 9), ("taxi", 2)):
        models.read(replace(of(epoch), app=app).encode(), "topic")
    models.read(b"{", "topic, offset 4")
    models.read(None, "topic, offset 5")
    assert models.settle(600)
    used = {app: used.version if used else None for app, used in models.in_use.items()}
    assert used == {"taxi": "v2", "births": "v5"}
    kinds = sorted(outcome.kind for outcome in models.outcomes())
    assert kinds == ["invalid", "invalid", "switched", "switched"]
    assert models.outcomes() == []


def test_an_outcome_is_an_alarm_event_in_json() -> None:
    outcome = ModelOutcome("refused", "taxi", 7, "v7", "/models/v7", "it is bad", "v6")
    alarm = outcome.alarm(member="host-1", at="2026-11-29T00:00:00Z")
    assert alarm == (
        b'{"kind": "StreamAlarm", "format": 1, "alarm": "model_refused", "member": "host-1", '
        b'"at": "2026-11-29T00:00:00Z", "app": "taxi", "epoch": 7, "version": "v7", "model": "/models/v7", '
        b'"reason": "it is bad", "in_use": "v6", "attempts": 0, "seconds": 0.0}'
    )
