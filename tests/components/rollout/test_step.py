"""Deployment in a run of dynamic training: by a canary or at once, under a claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.ledgers import arrival, claimed
from support.rollout_world import SETTINGS, World

from headrace.components.deploy.local.publisher import DeployConfig
from headrace.components.rollout import step
from headrace.components.rollout.rollout import RolloutResult
from headrace.components.rollout.step import deploy_or_roll_out
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import Overtaken


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return claimed(str(tmp_path / "ledger"), [arrival(0)])


def renew(world: World, claim: Claim, version: str = "v2", **options: Any) -> RolloutResult:
    config = DeployConfig(
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
