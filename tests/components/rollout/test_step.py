"""Deployment in a run of dynamic training: by a canary or at once, under a claim."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.ledgers import arrival, claimed
from support.rollout_world import SETTINGS, World

from headrace.components.deploy.local.publisher import LocalDeployConfig
from headrace.components.rollout import step
from headrace.components.rollout.rollout import RolloutResult
from headrace.components.rollout.step import deploy_or_roll_out
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import Overtaken
from headrace.core.steps.identity import publish_identity
from headrace.core.steps.step import read_record


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return claimed(str(tmp_path / "ledger"), [arrival(0)])


def renew(world: World, claim: Claim, version: str = "v2", **options: Any) -> RolloutResult:
    config = LocalDeployConfig(
        world.registry.path(version), world.folder.uri, registry=world.registry.folder, claim=claim, lock_timeout_s=0.0
    )
    settings = options.get("settings", SETTINGS)
    return deploy_or_roll_out(config, settings, now=world.now, sleep=world.sleep, poll_s=30.0)


def test_a_canary_that_holds_is_the_champion_and_a_second_call_says_the_same(world: World, claim: Claim) -> None:
    first = renew(world, claim)
    assert (first.outcome, world.registry.aliases()) == ("promoted", {"champion": "v2", "previous": "v1"})
    changes = world.registry.state().epoch
    again = renew(world, claim)
    assert (again.outcome, again.reasons) == ("live", (" ".join(first.reasons),))
    assert world.registry.state().epoch == changes


def test_a_canary_that_is_worse_is_a_result_and_a_second_call_says_the_same(world: World, claim: Claim) -> None:
    world.error_rates["v2"] = 0.2
    first = renew(world, claim)
    assert (first.outcome, first.live) == ("rolled back", "v1")
    again = renew(world, claim)
    assert (again.outcome, again.live, again.reasons) == ("rolled back", "v1", (" ".join(first.reasons),))
    assert world.registry.aliases() == {"champion": "v1"}


def test_a_canary_whose_run_was_given_up_is_left(world: World, claim: Claim) -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    world.on_sleep = give_up
    with pytest.raises(KeyboardInterrupt):
        renew(world, claim, "v3")
    assert world.state.canary == "v3"
    world.on_sleep = lambda: None
    assert renew(world, claim, "v2").outcome == "promoted"
    actions = [(change.action, change.version) for change in world.state.history]
    assert ("withdraw", "v3") in actions
    assert world.registry.state().versions["v3"].status == "registered"


def test_a_watch_that_is_overtaken_changes_nothing_more(world: World, claim: Claim) -> None:
    world.error_rates["v2"] = 0.2

    def overtake() -> None:
        if len(world.state.history) > 1:
            Ledger(claim.ledger).end(claim.run_id, claim.epoch, "kept")
            world.on_sleep = lambda: None

    world.on_sleep = overtake
    before: list[Any] = []
    with pytest.raises(Overtaken):
        renew(world, claim)
    before = [world.state, world.registry.state()]
    with pytest.raises(Overtaken):
        renew(world, claim)
    assert [world.state, world.registry.state()] == before
    assert world.state.traffic == {"v1": 90, "v2": 10}


def test_an_overtaken_run_deploys_nothing(world: World, claim: Claim) -> None:
    Ledger(claim.ledger).end(claim.run_id, claim.epoch, "kept")
    before = (world.state, world.registry.state())
    for settings in (SETTINGS, None):
        with pytest.raises(Overtaken):
            renew(world, claim, settings=settings)
    assert (world.state, world.registry.state()) == before


def test_settings_as_an_engine_passes_them() -> None:
    plain = {name: float(value) if isinstance(value, int) else value for name, value in SETTINGS.to_json().items()}
    plain["steps"] = [10.0, 50.0]
    assert step.CanarySettings.from_json(plain) == SETTINGS


def task(world: World, claim: Claim, tmp_path: Path, *, canary: bool = True) -> None:
    """The task of a run, which takes the first step of a canary."""
    settings: dict[str, Any] = SETTINGS.to_json() if canary else {}
    step.run(
        *(world.registry.path("v2"), world.folder.uri, world.registry.folder, str(tmp_path / "root"), "enforce"),
        *(
            claim.to_json(),
            settings,
            -1.0,
            False,
            SimpleNamespace(path=str(tmp_path / "deployment"), metadata={}),
            True,
        ),
    )


def test_a_canary_ends_by_the_deadline_of_its_run(world: World, claim: Claim, tmp_path: Path) -> None:
    """Its steps need two minutes, and its own deadline is an hour after it was staged."""
    until = time.time() + 1200.0
    task(world, claim.bounded(1200.0), tmp_path)
    rollout = world.state.rollout
    assert rollout is not None
    assert rollout.canary.deadline.timestamp() == pytest.approx(until, abs=600.0)
    # A task that is tried again finishes it, although its steps do not fit any more.
    late = claim.bounded(60.0)
    task(world, late, tmp_path)
    assert world.state.rollout is not None
    assert world.state.rollout.canary.deadline == rollout.canary.deadline


@pytest.mark.parametrize(("seconds", "canary"), [(60.0, True), (-1.0, True), (-1.0, False)])
def test_a_deployment_that_cannot_end_before_the_deadline_is_not_begun(
    world: World, claim: Claim, tmp_path: Path, seconds: float, canary: bool
) -> None:
    before = (world.state, world.registry.state())
    with pytest.raises(SystemExit) as ended:
        task(world, claim.bounded(seconds), tmp_path, canary=canary)
    assert ended.value.code == 75
    record = read_record(str(tmp_path / "root"), "deploy", publish_identity("deploy", "v2", world.folder.uri))
    assert record is not None
    assert record["error"]["what"].startswith("the run's deadline ")
    assert (world.state, world.registry.state()) == before
