"""Rollouts on an endpoint of this machine as a step of a pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.played_rollout import SETTINGS, World

from headrace.components.rollout import step
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, roll_out
from headrace.core.progress import Progress


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
