"""A watched canary at Vertex AI and KServe: steps until it ends, over failures of the service and another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_kinds import A, B
from support.service_story import SETTINGS, Story, story

from headrace.components.rollout import service_watch
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig
from headrace.components.rollout.service_watch import watch
from headrace.core.errors import PlatformError


@pytest.fixture(params=["vertex", "kserve serverless"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    return story(request.param, request, tmp_path)


def watched(told: Story, errors: float, seen: list[RolloutStep], **options: Any) -> RolloutStep:
    config = ServiceRolloutConfig(B, told.folder, SETTINGS, registry=told.case.registry.where, **options)
    endpoint: Any = told.case.open()
    return watch(
        endpoint, config, 60.0, observe=seen.append, now=lambda: told.now, sleep=lambda _: told.requests(errors)
    )


def test_a_good_canary_is_promoted_in_one_call(told: Story) -> None:
    seen: list[RolloutStep] = []
    assert watched(told, 0.0, seen).outcome == "promoted"
    assert [dict(step.traffic) for step in seen] == [{A: 90, B: 10}, {A: 50, B: 50}, {B: 100}]
    assert told.case.served() == {B: 100}
    assert watched(told, 0.0, seen).outcome == "live"


def test_a_bad_canary_is_rolled_back(told: Story) -> None:
    seen: list[RolloutStep] = []
    assert watched(told, 0.2, seen).outcome == "rolled back"
    assert told.case.served() == {A: 100}


def test_the_service_may_fail_four_times(told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    real = service_watch.advance

    def advance(*arguments: Any, **options: Any) -> RolloutStep:
        calls.append(True)
        if len(calls) % 5:
            raise PlatformError("the service failed")
        return real(*arguments, **options)

    monkeypatch.setattr(service_watch, "advance", advance)
    assert watched(told, 0.0, []).outcome == "promoted"

    def fails(*_: Any, **__: Any) -> RolloutStep:
        calls.append(False)
        raise PlatformError("the service failed")

    calls.clear()
    monkeypatch.setattr(service_watch, "advance", fails)
    with pytest.raises(PlatformError, match="the service failed"):
        watched(told, 0.0, [])
    assert calls == [False] * 5


def test_again_is_for_the_first_step_alone(told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[bool] = []
    real = service_watch.advance

    def advance(endpoint: Any, config: ServiceRolloutConfig, *rest: Any, **options: Any) -> RolloutStep:
        again.append(config.again)
        return real(endpoint, config, *rest, **options)

    monkeypatch.setattr(service_watch, "advance", advance)
    watched(told, 0.0, [], again=True)
    assert again == [True, False, False]


def test_a_canary_without_a_replay_needs_no_numpy() -> None:
    """The extra kubeflow, which `headrace endpoint canary kserve://...` needs, does not install it."""
    program = (
        "import sys\n"
        "for name in ('numpy', 'pyarrow', 'tensorflow'): sys.modules[name] = None\n"
        "import headrace.components.rollout.replay, headrace.components.rollout.service_watch\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
