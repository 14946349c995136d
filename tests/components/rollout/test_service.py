"""A canary at Vertex AI and at KServe, step by step: with its service's real traffic, killed at every effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_kinds import KINDS, A, B, C
from support.rollout_world import SETTINGS
from support.service_story import Story, story

from headrace.components.deploy import registries
from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint
from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint
from headrace.components.registry.open import registry_clock
from headrace.components.registry.origin import utc_now
from headrace.components.request_log.traffic import INTERVAL_S, TrafficLog, counted_until
from headrace.components.rollout.service import ServiceRolloutConfig, advance, raise_for_step
from headrace.core.errors import GateRefused, PlatformError, UsageError

SERVICES = [kind for kind in KINDS if kind != "local"]


class Killed(BaseException):
    """The process was killed."""


@pytest.fixture(params=SERVICES)
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    return story(request.param, request, tmp_path)


def test_a_good_canary_is_widened_and_promoted(told: Story) -> None:
    first = told.step()
    assert (first.outcome, dict(first.traffic), first.live) == ("under way", {A: 90, B: 10}, A)
    assert told.case.registry.aliases()["challenger"] == B
    waits = told.step()
    assert (waits.outcome, waits.reasons[0]) == (
        "under way",
        "The canary has had 0 of 200 requests at 10 % of the traffic.",
    )
    outcomes = []
    for _ in range(2):
        told.requests()
        outcomes.append(told.step().outcome)
    assert outcomes == ["under way", "promoted"]
    assert told.seen == [{A: 90, B: 10}, {A: 50, B: 50}, {B: 100}]
    assert told.case.registry.aliases()["champion"] == B
    state = told.case.open().state()
    assert (state.live, state.previous, state.pending, state.rollout) == (B, A, None, None)
    assert [change.action for change in state.history][-3:] == ["canary", "canary", "promote"]
    assert told.step().outcome == "live"
    # The way back knows where it leads.
    assert told.case.rollback().version == A


def test_the_version_at_another_endpoint_is_no_evidence(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The container of a version of Vertex AI's registry has one traffic log, at whatever endpoint it is deployed."""
    told = story("vertex", request, tmp_path)
    ids = told.case.open().deployments()
    assert set(ids) == {A, B}
    told.step()
    other = TrafficLog(told.folder, f"not-{ids[B]}")
    for _ in range(3000):
        other.answered(B, 500, 0.005)
    other.write(int(told.now.timestamp()) // INTERVAL_S * INTERVAL_S + INTERVAL_S)
    told.requests()
    step = told.step()
    assert (step.outcome, dict(step.traffic)) == ("under way", {A: 50, B: 50})


def test_a_canary_with_errors_is_rolled_back_and_marked(told: Story) -> None:
    told.step()
    told.requests(errors=0.2)
    ended = told.step()
    assert (ended.outcome, ended.live, dict(ended.traffic)) == ("rolled back", A, {A: 100})
    assert "The canary is worse: errors" in ended.reasons[0]
    assert told.case.served() == {A: 100}
    assert told.case.registry.aliases()["champion"] == A
    assert told.case.open().state().bad[B].why.startswith("The canary is worse")
    with pytest.raises(GateRefused, match="the version is marked as bad"):
        told.step()
    with pytest.raises(GateRefused, match="the canary was rolled back"):
        raise_for_step(ended, "there")


def test_without_requests_it_is_withdrawn_at_the_deadline_and_stays_so(told: Story) -> None:
    told.step()
    told.now += timedelta(hours=2)
    ended = told.step()
    assert (ended.outcome, dict(ended.traffic)) == ("withdrawn", {A: 100})
    assert ended.reasons[0] == "The deadline is over without enough evidence to promote."
    assert (told.case.served(), dict(told.case.open().state().bad)) == ({A: 100}, {})
    assert told.step().outcome == "withdrawn"
    with pytest.raises(PlatformError, match="the canary was withdrawn"):
        raise_for_step(ended, "there")


@pytest.mark.parametrize(("errors", "end"), [(0.0, "promoted"), (0.2, "rolled back")])
def test_killed_at_every_effect_it_ends_as_it_should(
    told: Story, errors: float, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = Kills()
    kills.guard(monkeypatch)
    outcomes: list[str] = []
    while not outcomes or outcomes[-1] == "under way":
        with kills.allowed():
            try:
                outcomes.append(told.step().outcome)
            except GateRefused:
                outcomes.append("rolled back")
        if kills.last:
            outcomes.append("under way")
        else:
            told.requests(errors)
    # What was killed after its very last effect is found done.
    assert outcomes[-1] in (end, "live" if end == "promoted" else end)
    live = B if end == "promoted" else A
    assert told.case.served() == {live: 100}
    assert told.case.registry.aliases()["champion"] == live
    state = told.case.open().state()
    assert (state.live, state.pending, state.rollout) == (live, None, None)
    # Each effect was killed twice: before it, and after it.
    assert len(kills.effects) >= 8


class Kills:
    """Kills the process before and after each effect, once each: a write of the state, the traffic, the registry."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.last = False
        self._done = 0
        self._killed: set[str] = set()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A call that may be killed."""
        self._done, self.last = 0, False
        try:
            yield
        except Killed:
            self.last = True

    def guard(self, patch: pytest.MonkeyPatch) -> None:
        """Guards the effects."""
        for owner in (KserveEndpoint, VertexEndpoint):
            for name in ("write", "split", "promote", "shift"):
                patch.setattr(owner, name, self._guarded(f"{owner.__name__}.{name}", getattr(owner, name)))
        for name in ("promote", "mark_bad"):
            patch.setattr(registries, name, self._guarded(name, getattr(registries, name)))

    def _guarded(self, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            place = f"{name} {self._done}"
            self._done += 1
            for when in ("before", "after"):
                if when == "after":
                    result = effect(*arguments, **options)
                if f"{when} {place}" not in self._killed:
                    self._killed.add(f"{when} {place}")
                    self.effects.append(f"{when} {place}")
                    raise Killed
            return result

        return guarded


@pytest.fixture(params=["kserve serverless", "kserve standard"])
def on_kserve(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    return story(request.param, request, tmp_path)


def test_a_withdrawn_one_is_tried_again_on_request(on_kserve: Story) -> None:
    on_kserve.step()
    on_kserve.now += timedelta(hours=2)
    assert on_kserve.step().outcome == "withdrawn"
    # At KServe its revision or its entry is gone: it is deployed without traffic first.
    on_kserve.case.add(B, 0)
    assert on_kserve.step().outcome == "withdrawn"
    assert on_kserve.step(again=True).traffic == {A: 90, B: 10}


def test_steps_of_several_machines_have_one_clock(told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the registry's store: the machine of a step may be hours ahead, which would be over the deadline."""
    store = datetime(2026, 3, 1, tzinfo=UTC)
    asked = []
    monkeypatch.setattr(
        "headrace.components.registry.open.store_clock", lambda uri: asked.append(uri) or store.timestamp()
    )
    registry = told.case.registry.where
    config = ServiceRolloutConfig(B, told.folder, SETTINGS, registry)
    assert advance(told.case.open(), config).outcome == "under way"
    rollout = told.case.open().state().rollout
    assert rollout is not None
    assert (rollout.canary.at, rollout.canary.deadline) == (store, store + timedelta(seconds=SETTINGS.deadline_s))
    # At Vertex AI the folder is the one that its versions name: a bucket that every step writes to.
    assert {uri.partition(":")[0] for uri in asked} == {"gs"}
    assert registry_clock(f"{registry}-none") is utc_now


def test_a_registry_of_vertex_has_the_clock_of_its_bucket(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    told = story("vertex", request, tmp_path)
    assert told.case.registry.where.startswith("projects/")
    assert abs(registry_clock(told.case.registry.where)() - utc_now()) < timedelta(minutes=1)


def test_a_canary_that_a_person_took_the_traffic_from_is_over(on_kserve: Story) -> None:
    on_kserve.step()
    endpoint: Any = on_kserve.case.open()
    endpoint.split({A: 100}, lambda *_, **__: None)
    ended = on_kserve.step()
    assert (ended.outcome, ended.reasons) == ("withdrawn", ("The canary's traffic was removed by hand.",))


def test_a_step_begins_again_where_a_person_changed_the_traffic(on_kserve: Story) -> None:
    on_kserve.step()
    on_kserve.requests()
    endpoint: Any = on_kserve.case.open()
    endpoint.split({A: 70, B: 30}, lambda *_, **__: None)
    again = on_kserve.step()
    assert (again.outcome, dict(again.traffic)) == ("under way", {A: 90, B: 10})
    assert "The canary has had 0 of 200 requests" in again.reasons[0]
    on_kserve.requests()
    assert dict(on_kserve.step().traffic) == {A: 50, B: 50}


def test_a_version_that_is_not_deployed(on_kserve: Story) -> None:
    endpoint: Any = on_kserve.case.open()
    with pytest.raises(UsageError, match="the versions cannot run at the same time"):
        endpoint.split({A: 90, C: 10}, lambda *_, **__: None)
    assert on_kserve.case.served() == {A: 100}


def test_a_step_on_a_machine_whose_clock_is_an_hour_behind(on_kserve: Story) -> None:
    """It reads no counts from before the step: those were of the version's earlier life, which had many errors."""
    begun = int(on_kserve.now.timestamp()) // INTERVAL_S * INTERVAL_S
    for version, status in ((A, 200), (B, 500)):
        log = on_kserve.servers[version] = TrafficLog(on_kserve.folder, "")
        for at, answer in ((begun - 7200, status), (begun - 1800, 200)):
            for _ in range(600):
                log.answered(version, answer, 0.005)
            log.write(at)
    assert dict(on_kserve.step().traffic) == {A: 90, B: 10}
    on_kserve.requests()
    on_kserve.now -= timedelta(hours=1)
    behind = on_kserve.step()
    assert (behind.outcome, dict(behind.traffic)) == ("under way", {A: 90, B: 10})
    on_kserve.now += timedelta(hours=1)
    assert dict(on_kserve.step().traffic) == {A: 50, B: 50}
    on_kserve.requests()
    assert on_kserve.step().outcome == "promoted"


@pytest.mark.parametrize("hours", [-1, 1])
def test_servers_on_machines_an_hour_apart(on_kserve: Story, hours: int) -> None:
    class Apart(TrafficLog):
        def write(self, at: int) -> None:
            super().write(at + 3600 * hours)

    on_kserve.step()
    on_kserve.servers[B] = Apart(on_kserve.folder, "")
    for _ in range(2):
        on_kserve.requests(count=6000)
        on_kserve.now -= timedelta(seconds=120)
        # Enough for a time that all have written, as of servers with one clock.
        for _ in range(2):
            on_kserve.requests(count=6000)
        last = on_kserve.step()
    assert last.outcome == "promoted"


def test_two_steps_at_once(on_kserve: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    split = KserveEndpoint.split

    def slow(self: KserveEndpoint, traffic: Any, report: Any) -> None:
        monkeypatch.setattr(KserveEndpoint, "split", split)
        assert on_kserve.step().outcome == "under way"
        on_kserve.requests()
        assert dict(on_kserve.step().traffic) == {A: 50, B: 50}

    monkeypatch.setattr(KserveEndpoint, "split", slow)
    with pytest.raises(PlatformError, match="another process changed the endpoint at the same time"):
        on_kserve.step()
    assert on_kserve.case.served() == {A: 50, B: 50}


def test_the_log_is_read_at_a_time_that_all_servers_have_written() -> None:
    assert counted_until(1000.0) == 980
    assert counted_until(1009.9) == 980
    assert counted_until(1010.0) == 990
