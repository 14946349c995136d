"""A canary that a run left under way: each tick takes a step, and the last one ends the run."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.vertex.service import PARENT
from support.endpoint_kinds import KINDS, A, B, Case
from support.ledgers import arrival, claimed
from support.replay_story import ReplayStory, replay_story
from support.rollout_world import SETTINGS, Killed, World
from support.rollout_world import world as world
from support.triggered import DIGESTS, CountedRuns

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import WATCH_LOCK
from headrace.components.deploy.local.publisher import LocalDeployConfig
from headrace.components.rollout import renewal
from headrace.components.rollout.step import deploy_or_roll_out
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.state import Overtaken, RunEnding, Watch
from headrace.core.steps.workspace import summary_uri
from headrace.core.storage.lock import locked
from headrace.pipelines.dynamic.canary import take_step
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick
from headrace.pipelines.submission.place import PlatformLocation

NOW = datetime(2026, 2, 1, tzinfo=UTC)
CANARY = dataclasses.replace(SETTINGS, minimum_step_s=0.0)


@pytest.fixture
def settings(world: World, tmp_path: Path) -> DynamicSettings:
    made = DynamicSettings(
        "natality",
        "problem.py",
        DIGESTS,
        str(tmp_path / "root"),
        world.registry.folder,
        world.folder.uri,
        canary=CANARY,
        watch_by_ticks=True,
        announce=(str(tmp_path / "events"),),
    )
    made.write()
    return made


@pytest.fixture
def left(settings: DynamicSettings, world: World) -> Claim:
    """A run whose tasks staged the canary v2, and ended with it under way."""
    claim = claimed(settings.folder, [arrival(0), arrival(1)])
    config = LocalDeployConfig(world.registry.path("v2"), world.folder.uri, registry=world.registry.folder, claim=claim)
    first = deploy_or_roll_out(config, CANARY, once=True)
    assert (first.outcome, dict(world.state.traffic)) == ("under way", {"v1": 90, "v2": 10})
    settings.ledger.watch(claim.run_id, claim.holder, Watch("v2", {arrival(1).version: "quarantined"}))
    storage.write_json(summary_uri(settings.root, claim.run_id), {"run_id": claim.run_id, "outcome": "under way"})
    return claim


def ticked(settings: DynamicSettings, runs: CountedRuns | None = None) -> Any:
    # Nobody asks the platform about a run whose tasks have ended.
    silent = CountedRuns()
    silent.silent = True
    return tick(settings, NOW, runs=runs or silent)


def played(settings: DynamicSettings, world: World) -> list[str]:
    """Ticks, between which requests come, until the run has ended; what each did."""
    did = []
    while settings.ledger.state().run is not None:
        world.sleep(1)
        did.append(ticked(settings).did)
        assert len(did) < 20
    return did


def test_ticks_promote_it_and_end_the_run(settings: DynamicSettings, world: World, left: Claim, tmp_path: Path) -> None:
    still = ticked(settings)
    assert still.did == "running"
    assert "its canary is under way. The canary has had 0 of 300 requests at 10 %" in still.why
    assert len(played(settings, world)) > 5
    assert (world.state.live, world.registry.aliases()["champion"]) == ("v2", "v2")
    state = settings.ledger.state()
    (ending,) = state.history
    why = world.registry.state().last("v2", "promote")
    assert why is not None
    versions = (arrival(0).version, arrival(1).version)
    assert ending == RunEnding(1, versions, "promoted", "v2", why.why)
    assert [done.outcome for done in state.done.values()] == ["promoted", "quarantined"]
    summary = storage.read_json(summary_uri(settings.root, left.run_id))
    assert summary == {"run_id": left.run_id, "outcome": "promoted", "why": ending.why}
    events = [json.loads(file.read_text()) for file in sorted((tmp_path / "events").glob("*.json"))]
    assert [event["version"] for event in events] == ["v1", "v2"]
    # The next tick has nothing to do.
    assert ticked(settings, CountedRuns()).did == "idle"


def test_ticks_roll_it_back_and_mark_it(settings: DynamicSettings, world: World, left: Claim) -> None:
    world.error_rates["v2"] = 0.2
    played(settings, world)
    assert dict(world.state.traffic) == {"v1": 100}
    state = settings.ledger.state()
    assert [(one.outcome, one.model) for one in state.history] == [("kept", "v2")]
    assert state.history[0].why.startswith("rolled back: The canary is worse")
    assert state.bad == ("v2",)
    assert world.registry.state().versions["v2"].status == "bad"


@pytest.mark.parametrize(("errors", "live", "outcome"), [(0.0, "v2", "promoted"), (0.2, "v1", "kept")])
def test_a_tick_that_is_killed_at_any_effect_is_finished_by_the_next(
    settings: DynamicSettings, world: World, left: Claim, errors: float, live: str, outcome: str
) -> None:
    world.error_rates["v2"] = errors
    kills = 0
    # Before and after the first effect of a tick, then the second, and so on.
    while settings.ledger.state().run is not None:
        world.dies_at = (world.effects + kills // 2, "after" if kills % 2 else "before")
        world.sleep(1)
        try:
            ticked(settings)
        except Killed:
            kills += 1
    assert kills > 3
    assert (world.state.live, dict(world.state.traffic), world.state.pending) == (live, {live: 100}, None)
    assert world.registry.aliases()["champion"] == live
    assert [one.outcome for one in settings.ledger.state().history] == [outcome]


def test_an_endpoint_that_was_stopped_is_a_failed_attempt(settings: DynamicSettings, world: World, left: Claim) -> None:
    world.folder.write(dataclasses.replace(world.state, stopped=True), world.state)
    with pytest.raises(UsageError, match="the endpoint does not run"):
        ticked(settings)
    state = settings.ledger.state()
    assert state.run is None
    assert state.failure is not None
    assert state.failure.reason == "the endpoint does not run"
    assert ticked(settings).did == "waiting"


def test_a_person_who_promotes_it_ends_the_run(settings: DynamicSettings, world: World, left: Claim) -> None:
    operate.promote(world.folder.uri, "v2", why="by hand")
    ticked(settings, CountedRuns())
    assert [(one.outcome, one.why) for one in settings.ledger.state().history] == [("promoted", "by hand")]


def test_of_two_ticks_at_once_one_takes_the_step(settings: DynamicSettings, world: World, left: Claim) -> None:
    with locked(world.folder.uri, name=WATCH_LOCK):
        found = ticked(settings)
    assert (found.did, found.why.partition(": ")[2]) == (
        "running",
        "its canary is under way. Another process takes a step.",
    )


def test_a_run_that_was_overtaken_takes_no_step(settings: DynamicSettings, world: World, left: Claim) -> None:
    run = settings.ledger.state().run
    assert run is not None
    settings.ledger.end(left.run_id, left.epoch, "kept")
    before = world.state
    with pytest.raises(Overtaken):
        take_step(settings, run)
    assert world.state == before


PLACES = {
    "vertex": (
        PlatformLocation("vertex", project="demo-project", location="us-central1"),
        f"{PARENT}/endpoints/natality",
    ),
    "kserve": (PlatformLocation("kubeflow", namespace="models"), "kserve://models/natality"),
}


def left_at(kind: str, case: Case, folder: Path, canary: CanarySettings, request_log: str = "") -> DynamicSettings:
    """A dynamic training on Vertex AI or Kubeflow, one of whose runs left the canary B."""
    place, endpoint = PLACES[kind]
    settings = DynamicSettings(
        "natality",
        "problem.py",
        DIGESTS,
        str(folder / "root"),
        case.registry.where,
        endpoint,
        platform=place.platform,
        place=place,
        canary=canary,
        traffic_log=str(folder / "traffic"),
        request_log=request_log,
    )
    settings.write()
    claim = claimed(settings.folder, [arrival(0)])
    settings.ledger.watch(claim.run_id, claim.holder, Watch(B))
    return settings


def test_at_a_service_ticks_take_the_steps(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case = KINDS["vertex"](request, tmp_path)
    case.add(A, 100)
    case.add(B, 0)
    settings = left_at("vertex", case, tmp_path, dataclasses.replace(CANARY, deadline_s=0.001))
    first = ticked(settings)
    assert (first.did, case.served()) == ("running", {A: 90, B: 10})
    assert ticked(settings, CountedRuns()).did == "idle"
    (ending,) = settings.ledger.state().history
    assert (ending.outcome, ending.model, case.served()) == ("kept", B, {A: 100})
    assert ending.why.startswith("withdrawn: The deadline is over without enough evidence to promote. ")


def at_last_step(settings: DynamicSettings, story: ReplayStory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks until half of the traffic is the canary's, and nothing but replayed rows is missing."""
    real = functools.partial(renewal.renew, now=lambda: story.told.now)
    monkeypatch.setattr(renewal, "renew", real)
    for percent in (10, 50):
        assert (ticked(settings).did, story.told.case.served()) == ("running", {A: 100 - percent, B: percent})
        story.told.requests()
    assert "0 of 30 logged rows are replayed." in ticked(settings).why


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize(("bias", "outcome", "served"), [(1.0, "promoted", {B: 100}), (1.5, "kept", {A: 100})])
def test_at_a_service_ticks_replay_logged_requests(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    bias: float,
    outcome: str,
    served: dict[str, int],
) -> None:
    story = replay_story(kind, request, tmp_path, canary_bias=bias)
    if kind == "kserve":
        # The cluster is in this process.
        monkeypatch.setattr("headrace.components.deploy.open.open_service", lambda *_, **__: story.told.case.open())
    canary = dataclasses.replace(CANARY, minimum_requests=200, minimum_replayed=30, maximum_differing=0.05)
    settings = left_at(kind, story.told.case, tmp_path, canary, story.log)
    at_last_step(settings, story, monkeypatch)
    story.log_requests(10)
    # Such as a Cloud Function: it leaves the step to a tick that can replay.
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda _: None)
        waits = ticked(settings)
    assert "a tick on a machine with TensorFlow takes" in waits.why
    assert story.told.case.served() == {A: 50, B: 50}
    assert ticked(settings, CountedRuns()).did == "idle"
    (ending,) = settings.ledger.state().history
    assert (ending.outcome, story.told.case.served()) == (outcome, served)
    assert ("The canary is worse" in ending.why) == (outcome == "kept")
