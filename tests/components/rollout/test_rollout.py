"""Rollouts from stage to end, killed before and after each effect and run again; processes and router are played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.rollout_world import Killed, World

from headrace.components.deploy.canary.evidence import Replay
from headrace.components.deploy.canary.replay import ReplayEvidence
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import deploy
from headrace.components.rollback.rollback import rollback
from headrace.components.rollout import rollout
from headrace.components.rollout.rollout import raise_for
from headrace.core.errors import GateRefused, PlatformError, UsageError
from headrace.core.storage.lock import locked

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
    with pytest.raises(UsageError, match=r"require labelled rows.*minimum_labelled = 1, and no labels"):
        world.roll_out(settings=replace(settings, minimum_labelled=1))
    rows = [0]

    def session(folder: EndpointFolder, losses: object, report: object) -> Callable[[], ReplayEvidence]:
        assert (folder.uri, losses) == (world.folder.uri, None)
        assert callable(report)
        # The canary's requests are logged once it has some.
        return lambda: ReplayEvidence(Replay(rows[0], differing=rows[0]))

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
