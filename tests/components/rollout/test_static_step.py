"""Deployment in a run that must hold: a canary that goes back fails the task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.rollout_world import SETTINGS, World

from headrace.components.rollout import step
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, roll_out


def run(world: World, version: str, root: Path) -> SimpleNamespace:
    # An engine makes floats of whole numbers.
    settings = json.loads(json.dumps(SETTINGS.to_json()), parse_int=float)
    deployment = SimpleNamespace(path=str(root / "deployment"), metadata={})
    model = world.registry.path(version)
    step.run(model, world.folder.uri, "", str(root / "root"), "enforce", {}, settings, -1.0, True, deployment)
    return deployment


def test_a_canary_that_holds_and_one_that_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def played(config: RolloutConfig, *_: Any, **__: Any) -> RolloutResult:
        return roll_out(replace(config, poll_s=30.0), now=world.now, sleep=world.sleep)

    monkeypatch.setattr(step, "roll_out", played)
    deployment = run(world, "v2", tmp_path)
    assert (world.state.live, world.registry.aliases()["champion"]) == ("v2", "v2")
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
        run(world, "v3", tmp_path)
    assert (ended.value.code, world.state.live, list(world.state.bad)) == (3, "v2", ["v3"])


def test_on_an_endpoint_without_a_version_it_makes_the_champion(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def at_once(*_: Any, **__: Any) -> RolloutResult:
        return RolloutResult("v2", "live", "v2", "http://127.0.0.1:1", ("The endpoint had no version.",))

    monkeypatch.setattr(step, "roll_out", at_once)
    run(world, "v2", tmp_path)
    assert world.registry.aliases()["champion"] == "v2"
