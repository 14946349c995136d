"""Canary watch: counters to decisions, by looks that may be killed, repeated, or made by two processes."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from support.canaries import START, canary, staged, traffic

from headrace.components.deploy.canary.evidence import Differences, Replay, Step, VersionTraffic
from headrace.components.deploy.canary.replay import Replayed
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.canary.state import CanaryState
from headrace.components.deploy.canary.watch import CanaryRecord, look, watch
from headrace.core.errors import DataError

SETTINGS = CanarySettings(steps=(10, 50), minimum_requests=200, minimum_step_s=5, deadline_s=100)


class Killed(Exception):
    """The process was killed."""


class Endpoint:
    """An endpoint in memory: 100 requests per second, split by the traffic that it follows."""

    def __init__(self, error_rates: tuple[float, float], kill: float = 0.0) -> None:
        self.record = CanaryRecord(staged(SETTINGS))
        self.now = START
        self.traffic: list[Mapping[str, int]] = [{"v1": 100, "v2": 0}]
        self._rates = error_rates
        self._counts = {"v1": VersionTraffic(), "v2": VersionTraffic()}
        self._random = random.Random(1)
        self._kill = kill

    def _perhaps_killed(self) -> None:
        if self._random.random() < self._kill:
            raise Killed

    def read(self) -> CanaryRecord:
        # As it would be read from a file.
        return CanaryRecord.from_json(json.loads(json.dumps(self.record.to_json())), "file")

    def replace(self, before: CanaryRecord, after: CanaryRecord) -> bool:
        self._perhaps_killed()
        if before != self.record:
            return False
        self.record = after
        self._perhaps_killed()
        return True

    def counters(self) -> Mapping[str, VersionTraffic]:
        return dict(self._counts)

    def follow(self, state: CanaryState) -> None:
        if state.traffic != self.traffic[-1]:
            self.traffic.append(dict(state.traffic))
        self._perhaps_killed()

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for version, rate in zip(("v1", "v2"), self._rates, strict=True):
            requests = round(100 * seconds * self.traffic[-1].get(version, 0) / 100)
            errors = sum(self._random.random() < rate for _ in range(requests))
            self._counts[version] += VersionTraffic(requests, errors)

    def clock(self) -> datetime:
        return self.now

    def watched(self) -> CanaryRecord:
        return watch(self, "ann", clock=self.clock, sleep=self.sleep)


def test_a_good_canary_is_promoted_step_by_step() -> None:
    endpoint = Endpoint((0.01, 0.01))
    record = endpoint.watched()
    assert (record.state.stage, record.state.who, record.state.epoch) == ("promoted", "ann", 4)
    assert [each.get("v2", 0) for each in endpoint.traffic] == [0, 10, 50, 100]
    assert [step.canary.requests for step in record.evidence.steps] == [200, 250]
    assert endpoint.now == START + timedelta(seconds=25)


def test_a_canary_that_fails_is_rolled_back() -> None:
    endpoint = Endpoint((0.01, 0.5))
    record = endpoint.watched()
    assert record.state.stage == "rolled_back"
    assert record.state.why.startswith("The canary is worse: errors")
    assert endpoint.traffic[-1] == {"v1": 100, "v2": 0}
    assert endpoint.now < START + timedelta(seconds=5)


def test_a_canary_without_requests_is_rolled_back_at_the_deadline() -> None:
    endpoint = Endpoint((0.0, 0.0))
    endpoint._counts = {}
    endpoint.sleep = lambda seconds: setattr(endpoint, "now", endpoint.now + timedelta(seconds=seconds))  # type: ignore[method-assign]
    record = endpoint.watched()
    assert (record.state.stage, endpoint.now) == ("rolled_back", record.state.deadline)


@pytest.mark.parametrize(("rates", "end"), [((0.01, 0.01), "promoted"), ((0.01, 0.5), "rolled_back")])
def test_killed_anywhere_and_watched_again_it_ends_the_same(rates: tuple[float, float], end: str) -> None:
    endpoint, kills = Endpoint(rates, kill=0.3), 0
    while True:
        try:
            record = endpoint.watched()
            break
        except Killed:
            kills += 1
            endpoint.sleep(1.0)
    assert kills > 2
    assert record.state.stage == end
    # The traffic has followed, whatever was killed.
    assert endpoint.traffic[-1] == record.state.traffic
    assert all(sum(each.values()) == 100 for each in endpoint.traffic)


def test_a_person_may_decide_meanwhile() -> None:
    endpoint = Endpoint((0.0, 0.0))

    def sleep(seconds: float) -> None:
        state = endpoint.record.state
        endpoint.record = replace(endpoint.record, state=state.after(state.promotion("I say so."), "bob", endpoint.now))

    record = watch(endpoint, "ann", clock=endpoint.clock, sleep=sleep)
    assert (record.state.stage, record.state.who, record.state.why) == ("promoted", "bob", "I say so.")
    assert endpoint.traffic[-1] == {"v1": 0, "v2": 100}


def test_requests_before_the_canary_and_after_a_counter_began_anew_are_counted_right() -> None:
    record = CanaryRecord(staged(SETTINGS))
    record = look(record, {"v1": traffic(1_000, 50)}, None, START, "ann")
    assert record.evidence.steps == ()
    record = look(record, {"v1": traffic(1_090, 51), "v2": traffic(10, 1)}, None, START, "ann")
    assert record.evidence.steps == (Step(2, 10, traffic(90, 1), traffic(10, 1)),)
    assert look(record, {"v1": traffic(1_090, 51), "v2": traffic(10, 1)}, None, START, "ann") == record
    # The router was started again: it has counted 9 requests of the stable version, and none of the canary.
    record = look(record, {"v1": traffic(9)}, None, START, "ann")
    record = look(record, {"v1": traffic(18), "v2": traffic(12, 1)}, None, START, "ann")
    assert record.evidence.steps == (Step(2, 10, traffic(108, 1), traffic(12, 1)),)


def test_replayed_rows_are_evidence() -> None:
    record = CanaryRecord(canary(settings=SETTINGS))
    replayed = Replayed(Replay(rows=100, stable_only=50), Differences.of([0.5]))
    after = look(record, {}, replayed, START, "ann")
    assert (after.evidence.replay, after.evidence.losses) == (replayed.replay, replayed.losses)
    assert after.state.stage == "rolled_back"
    assert watch_calls_replay(replayed) == "rolled_back"


def watch_calls_replay(replayed: Replayed) -> str:
    endpoint = Endpoint((0.0, 0.0))
    reported: list[str] = []
    watch(
        endpoint,
        "ann",
        clock=endpoint.clock,
        sleep=endpoint.sleep,
        replay=lambda: replayed,
        report=lambda record: reported.append(record.state.stage),
    )
    return reported[-1]


def test_a_damaged_record_is_one_paragraph() -> None:
    content = CanaryRecord(staged()).to_json()
    for damaged in (None, {**content, "format": 2}, {**content, "seen": {"v1": {}}}, {**content, "decision": {}}):
        with pytest.raises(DataError, match=r"canary\.json: the record of the canary is damaged"):
            CanaryRecord.from_json(damaged, "canary.json")
    with pytest.raises(DataError, match="the state of the canary is damaged"):
        CanaryRecord.from_json({**content, "state": {}}, "canary.json")
