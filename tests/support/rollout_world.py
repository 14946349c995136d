"""An endpoint of this machine with v1 live, whose processes and router are played: a rollout takes no time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.played_endpoint import play
from support.registered_models import make_model

from headrace.components.deploy import registries
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.publisher import LocalDeployConfig
from headrace.components.deploy.local.switch import Switch
from headrace.components.deploy.state import EndpointState
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import Origin
from headrace.components.request_log.counts import BOUNDS
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, roll_out
from headrace.components.serve.processes import Announcement

SETTINGS = CanarySettings(steps=(10, 50), minimum_requests=300, minimum_step_s=60.0, deadline_s=3600.0)


class Killed(BaseException):
    """The process ended here."""


@dataclass
class World:
    """An endpoint with v1 live, models v2 and v3, and a router whose counts grow with each sleep."""

    folder: EndpointFolder
    registry: Registry
    requests: int = 200
    error_rates: dict[str, float] = field(default_factory=dict)
    counts: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    effects: int = 0
    dies_at: tuple[int, str] = (-1, "before")
    on_sleep: Callable[[], None] = lambda: None

    @property
    def state(self) -> EndpointState:
        return self.folder.existing()

    def config(self, version: str = "v2", **options: Any) -> RolloutConfig:
        settings = options.pop("settings", SETTINGS)
        model = self.registry.path(version)
        return RolloutConfig(
            LocalDeployConfig(model, self.folder.uri, lock_timeout_s=0.0, **options), settings, poll_s=30.0
        )

    def roll_out(self, version: str = "v2", **options: Any) -> RolloutResult:
        return roll_out(self.config(version, **options), now=self.now, sleep=self.sleep)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for version, percent in self.state.traffic.items():
            counted = self.counts.setdefault(version, [0, 0.0])
            counted[0] += self.requests * percent // 100
            counted[1] += self.requests * percent / 100 * self.error_rates.get(version, 0.0)
        self.on_sleep()

    def report(self, *_: object) -> Mapping[str, Any]:
        versions = {}
        for version in {*self.counts, *self.state.traffic}:
            requests, errors = self.counts.get(version, [0, 0.0])
            latency = [0] * (len(BOUNDS) + 1)
            latency[3] = int(requests) - int(errors)
            one = {"pid": 1, "state": "ready", "requests": int(requests), "errors": int(errors)}
            latency_s = {"bounds": list(BOUNDS), "counts": latency}
            versions[version] = {**one, "responses": {"4xx": 0}, "latency_s": latency_s}
        return {"epoch": self.state.epoch, "versions": versions}

    @contextmanager
    def effect(self) -> Iterator[None]:
        number, self.effects = self.effects, self.effects + 1
        if self.dies_at == (number, "before"):
            raise Killed
        yield
        if self.dies_at == (number, "after"):
            raise Killed

    def outcome(self) -> tuple[object, ...]:
        state = self.state
        return (
            dict(state.traffic),
            state.live,
            state.previous,
            sorted(state.bad),
            (state.pending, state.rollout),
            self.registry.aliases(),
            self.registry.state().versions["v2"].status,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("v1", "v2", "v3"):
        model = make_model(tmp_path / version, version, problem="natality")
        (tmp_path / version / "golden.json").write_text(json.dumps({"instances": [{}], "predictions": [{}]}))
        registry.register(model)
    registry.promote("v1")
    folder = EndpointFolder(str(tmp_path / "endpoint"))
    folder.publish(registry.path("v1"), "v1")
    by = Origin("sre@host", "2026-01-01T00:00:00+00:00")
    first = EndpointState("natality", "v1", None, port=1).switched("v1", "deploy", by, previous=None)
    folder.write(replace(first, registry=registry.folder), None)
    here = World(folder, registry)
    play(monkeypatch, here.report)

    def prepare(*_: object) -> tuple[Announcement, int]:
        with here.effect():
            return Announcement(1, "", "v", "http://127.0.0.1:1"), 3

    monkeypatch.setattr(Switch, "prepare", prepare)
    real = EndpointFolder.write

    def write(self: EndpointFolder, state: EndpointState, before: EndpointState | None) -> None:
        if state == before:
            return
        with here.effect():
            real(self, state, before)
        assert sum(state.traffic.values()) == 100

    monkeypatch.setattr(EndpointFolder, "write", write)
    for name in ("mark_bad", "promote", "challenge"):
        monkeypatch.setattr(registries, name, _dying(here, getattr(registries, name)))
    return here


def _dying(world: World, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        with world.effect():
            return real(*arguments)

    return call
