"""Rollouts from stage to end, killed before and after each effect and run again; processes and router are played."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.played_endpoint import play
from support.registered_models import make_model

from headrace.components.deploy import registries
from headrace.components.deploy.canary.evidence import Replay
from headrace.components.deploy.canary.replay import Replayed
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import DeployConfig, deploy
from headrace.components.deploy.local.switch import Switch
from headrace.components.deploy.state import EndpointState
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import Origin
from headrace.components.request_log.counts import BOUNDS
from headrace.components.rollback.rollback import rollback
from headrace.components.rollout import rollout, step
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, raise_for, roll_out
from headrace.components.serve.processes import Announcement
from headrace.core.errors import GateRefused, PlatformError, UsageError
from headrace.core.progress import Progress
from headrace.core.storage.lock import locked

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
        return RolloutConfig(DeployConfig(model, self.folder.uri, lock_timeout_s=0.0, **options), settings, poll_s=30.0)

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
        model = make_model(tmp_path / version, version)
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


PROMOTED = ({"v2": 100}, "v2", "v1", [], (None, None), {"champion": "v2", "previous": "v1"}, "registered")
ROLLED_BACK = ({"v1": 100}, "v1", None, ["v2"], (None, None), {"champion": "v1"}, "bad")


def test_a_good_canary_is_promoted(world: World) -> None:
    result = world.roll_out(why="nightly")
    assert (result.outcome, result.live, result.url) == ("promoted", "v2", "http://127.0.0.1:1")
    assert result.reasons[0] == "The minimum of requests is reached at every step, to 50 % of the traffic."
    assert world.outcome() == PROMOTED
    assert [(c.epoch, c.action, c.version, dict(c.traffic)) for c in world.state.history] == [
        (1, "deploy", "v1", {"v1": 100}),
        (2, "canary", "v2", {"v1": 90, "v2": 10}),
        (3, "canary", "v2", {"v1": 50, "v2": 50}),
        (4, "promote", "v2", {"v2": 100}),
    ]
    # 300 requests at 10 % of 200 per look, then at 50 %.
    assert world.seconds == 30.0 * (1 + 15 + 3 - 1)
    again = world.roll_out()
    assert (again.outcome, world.outcome()) == ("live", PROMOTED)
    raise_for(result, "here")


def test_a_bad_canary_is_rolled_back_and_marked(world: World) -> None:
    world.error_rates["v2"] = 0.2
    result = world.roll_out()
    assert (result.outcome, result.live) == ("rolled back", "v1")
    assert result.reasons[0].startswith("The canary is worse: errors; evidence of ")
    assert world.outcome() == ROLLED_BACK
    assert world.state.history[-1].action == "rollback"
    assert "The canary is worse" in world.state.bad["v2"].why
    with pytest.raises(GateRefused, match=r"the canary was rolled back, and v1 has all traffic.*The canary is worse"):
        raise_for(result, "here")
    for call in (world.roll_out, lambda: deploy(world.config().deploy)):
        with pytest.raises(GateRefused, match="the version is marked as bad"):
            call()
    assert world.outcome() == ROLLED_BACK


def test_errors_of_both_are_not_the_canarys(world: World) -> None:
    world.error_rates = {"v1": 0.04, "v2": 0.04}
    assert world.roll_out().outcome == "promoted"


def test_without_traffic_it_is_withdrawn_at_the_deadline_without_a_mark(world: World) -> None:
    world.requests = 0
    result = world.roll_out()
    assert (result.outcome, result.live) == ("withdrawn", "v1")
    assert world.seconds == 3600.0
    assert world.outcome() == (
        {"v1": 100}, "v1", None, [], (None, None), {"challenger": "v2", "champion": "v1"}, "registered",
    )  # fmt: skip
    assert [c.action for c in world.state.history] == ["deploy", "canary", "withdraw"]
    with pytest.raises(PlatformError, match=r"the canary was withdrawn.*The canary has had 0 of 300 requests"):
        raise_for(result, "here")
    # More traffic, and it may try again.
    world.requests = 200
    assert world.roll_out().outcome == "promoted"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize(("rate", "expected"), [(0.0, PROMOTED), (0.2, ROLLED_BACK)])
def test_killed_anywhere_and_run_again(
    world: World, number: int, when: str, rate: float, expected: tuple[object, ...]
) -> None:
    world.error_rates["v2"] = rate
    world.dies_at = (number, when)
    try:
        world.roll_out()
    except Killed:
        assert world.outcome()[0] in ({"v1": 100}, {"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v2": 100})
        try:
            world.roll_out()
        except GateRefused:
            # It was rolled back, all but the last word.
            assert rate
    assert world.effects > number
    assert world.outcome() == expected


def test_one_rollout_at_a_time(world: World) -> None:
    def meanwhile() -> None:
        if world.seconds != 60.0:
            return
        assert world.state.traffic == {"v1": 90, "v2": 10}
        for call in (
            lambda: world.roll_out("v3"),
            lambda: world.roll_out("v2"),
            lambda: deploy(world.config("v3").deploy),
            lambda: deploy(world.config("v2").deploy),
            lambda: operate.promote(world.folder.uri, "v1"),
        ):
            with pytest.raises(
                PlatformError, match=r"another process holds the lock|a canary of the endpoint is under"
            ):
                call()

    world.on_sleep = meanwhile
    assert world.roll_out().outcome == "promoted"
    assert world.seconds > 60.0


@pytest.mark.parametrize("stage", ["staged", "canary"])
def test_a_person_rolls_it_back(world: World, stage: str) -> None:
    world.dies_at = (1, "before") if stage == "staged" else (5, "after")
    with pytest.raises(Killed):
        world.roll_out()
    assert (world.state.canary, "v2" in world.state.traffic) == ("v2", stage == "canary")
    with pytest.raises(PlatformError, match=r"a canary of the endpoint is under way.*headrace endpoint promote"):
        world.roll_out("v3")
    rollback(LocalEndpoint(world.folder.uri), why="pager")
    assert world.outcome() == ROLLED_BACK
    rollback(LocalEndpoint(world.folder.uri))
    assert world.outcome() == ROLLED_BACK
    assert world.roll_out("v3").outcome == "promoted"


def test_a_person_promotes_it_while_it_is_watched(world: World) -> None:
    def meanwhile() -> None:
        if world.seconds == 90.0:
            operate.promote(world.folder.uri, "v2", why="I know it")

    world.on_sleep = meanwhile
    result = world.roll_out()
    assert (result.outcome, result.reasons) == ("promoted", ("Somebody else decided.",))
    assert world.outcome() == PROMOTED


def test_what_a_canary_cannot_change(world: World) -> None:
    for options, message in (
        ({"rules": "warn"}, "a canary cannot change the rules of the endpoint.*Expected enforce"),
        ({"port": 2}, "a canary cannot change the port"),
        ({"name": "other"}, "a canary cannot change the name"),
    ):
        with pytest.raises(UsageError, match=message):
            world.roll_out(**options)
    stopped = world.state
    world.folder.write(replace(stopped, stopped=True), stopped)
    with pytest.raises(UsageError, match="the endpoint does not run"):
        world.roll_out()
    with locked(world.folder.uri, name=WATCH_LOCK), pytest.raises(PlatformError, match="another process holds"):
        world.roll_out()


def test_a_replay_needs_a_request_log_and_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CanarySettings(steps=(10,), minimum_requests=100, minimum_replayed=50, maximum_differing=0.1)
    with pytest.raises(UsageError, match=r"logs no requests.*--request-log-share 0\.1"):
        world.roll_out(settings=settings)
    before = world.state
    world.folder.write(replace(before, log_share=0.5), before)
    with pytest.raises(UsageError, match=r"a canary cannot change the logged fraction of the endpoint.*Expected 0\.5"):
        world.roll_out(settings=settings, log_share=0.1)
    rows = [0]

    def session(folder: EndpointFolder, losses: object, report: object) -> Callable[[], Replayed]:
        assert (folder.uri, losses) == (world.folder.uri, None)
        assert callable(report)
        # The canary's requests are logged once it has some.
        return lambda: Replayed(Replay(rows[0], differing=rows[0]))

    monkeypatch.setattr(rollout, "endpoint_replay", session)
    world.on_sleep = lambda: rows.__setitem__(0, rows[0] + 20)
    result = world.roll_out(settings=settings)
    assert (result.outcome, result.live) == ("rolled back", "v1")
    assert result.reasons[0].startswith("The canary is worse: differing rows")


def test_the_state_of_a_rollout_is_written_and_read_back(world: World) -> None:
    world.dies_at = (5, "after")
    with pytest.raises(Killed):
        world.roll_out()
    state = world.state
    assert state.rollout is not None
    assert state.rollout.canary.stage == "canary"
    assert set(state.rollout.baseline) == {"v1", "v2"}
    assert world.folder.existing() == state


def test_as_a_step_of_a_pipeline(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def played(config: RolloutConfig, report: Progress) -> RolloutResult:
        return roll_out(replace(config, poll_s=30.0), report, now=world.now, sleep=world.sleep)

    monkeypatch.setattr(step, "roll_out", played)
    # An engine makes floats of whole numbers.
    settings: Any = json.loads(json.dumps(SETTINGS.to_json()), parse_int=float)
    deployment = SimpleNamespace(path=str(tmp_path / "deployment"), metadata={})
    step.run(world.registry.path("v2"), world.folder.uri, str(tmp_path / "root"), deployment, settings)
    assert world.state.live == "v2"
    written = json.loads(Path(deployment.path).read_text())
    assert {name: written[name] for name in ("version", "previous", "checked_rows", "outcome")} == {
        "version": "v2",
        "previous": "v1",
        "checked_rows": 1,
        "outcome": "promoted",
    }
    assert f"curl -s {world.state.url}/predict" in deployment.metadata["curl"]
    world.error_rates["v3"] = 0.3
    with pytest.raises(SystemExit) as ended:
        step.run(world.registry.path("v3"), world.folder.uri, str(tmp_path / "root"), deployment, settings)
    assert (ended.value.code, world.state.live, list(world.state.bad)) == (3, "v2", ["v3"])


def test_a_step_on_an_endpoint_without_a_version_makes_the_champion(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def at_once(config: RolloutConfig, _: Progress) -> RolloutResult:
        return RolloutResult("v2", "live", "v2", "http://127.0.0.1:1", ("The endpoint had no version.",))

    monkeypatch.setattr(step, "roll_out", at_once)
    deployment = SimpleNamespace(path=str(tmp_path / "deployment"), metadata={})
    step.run(world.registry.path("v2"), world.folder.uri, str(tmp_path / "root"), deployment, SETTINGS.to_json())
    assert world.registry.aliases()["champion"] == "v2"
