"""The pump against a platform that forgets, doubles and kills: one run per data version, and none lost."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.inbox import Arrival, data_version_of
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.pump import CanaryProgress, PumpResult, Status, pump, run_id_of
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import LedgerRun, Overtaken, Watch

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RETRIES = Retries(attempts=3, first=timedelta(minutes=1), longest=timedelta(minutes=4))


def arrival(day: int, event: str = "") -> Arrival:
    span = f"2026-11-{day:02d}"
    version = data_version_of("p" * 16, span, f"rows of {span}")
    return Arrival(version, span, f"gs://flights/{span}.csv", f"rows of {span}", "file", event, NOW.isoformat())


class Killed(BaseException):
    """The caller is killed here."""


class Platform:
    """Runs by id, each with its executions; a doubling platform makes a second execution of the same run."""

    def __init__(self) -> None:
        self.executions: dict[str, list[str]] = {}
        self.ended: set[str] = set()
        self.versions: dict[str, tuple[str, ...]] = {}
        self.fault = ""

    def status(self, run_id: str) -> Status:
        if self.fault == "silent":
            raise PlatformError("the platform does not answer")
        if run_id not in self.executions:
            return "absent"
        return "ended" if run_id in self.ended else "alive"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        fault, self.fault = self.fault, ""
        if fault == "killed before":
            raise Killed
        if fault == "refused":
            raise UsageError("the machine type does not exist")
        assert tuple(sorted(each.version for each in arrivals)) == run.versions
        executions = self.executions.setdefault(run.id, [])
        if not executions or fault == "doubled":
            executions.append(f"{run.id}/{len(executions)}")
        self.versions[run.id] = run.versions
        if fault == "killed after":
            raise Killed
        if fault == "lost answer":
            raise PlatformError("no answer")


FAULTS = ("", "killed before", "killed after", "lost answer", "doubled", "refused", "silent")


def pumped(ledger: Ledger, platform: Platform, now: datetime) -> PumpResult | None:
    try:
        return pump(ledger, platform, now, name="flights", retries=RETRIES)
    except (Killed, PlatformError, UsageError):
        return None


class Dynamic(RuleBasedStateMachine):
    """Triggers, pumps, runs and faults in any order."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(self.folder.name)
        self.platform = Platform()
        self.now = NOW
        self.arrived: set[str] = set()
        self.effects: dict[str, str] = {}
        self.fences: list[tuple[int, int]] = []

    @rule(day=st.integers(1, 6), event=st.text(max_size=3))
    def trigger(self, day: int, event: str) -> None:
        new = self.ledger.arrive(arrival(day, event))
        assert new == (arrival(day).version not in self.arrived)
        self.arrived.add(arrival(day).version)

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def pump(self, fault: str, times: int) -> None:
        self.platform.fault = fault
        for _ in range(times):
            pumped(self.ledger, self.platform, self.now)
        self.platform.fault = ""
        run = self.ledger.state().run
        if run is not None and (not self.fences or self.fences[-1] != run.fence):
            assert not self.fences or run.fence > self.fences[-1]
            self.fences.append(run.fence)

    @rule(minutes=st.integers(0, 5))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: self.platform.executions)
    @rule(pick=st.randoms(use_true_random=False), end=st.booleans())
    def work(self, pick: random.Random, end: bool) -> None:
        """An execution of any run, old ones too, does what it would: claim, check before the effect, end."""
        run_id = pick.choice(sorted(self.platform.executions))
        holder = pick.choice(self.platform.executions[run_id])
        before = self.ledger.state()
        try:
            run = self.ledger.claim(run_id, holder)
        except Overtaken:
            assert self.ledger.state() == before
            return
        assert run.holder == holder
        if end:
            for version in self.ledger.check(run_id, holder).versions:
                assert version not in self.effects, "a data version was trained with twice"
                self.effects[version] = run_id
            self.ledger.end(run_id, run.epoch, "promoted", model=f"m{run.epoch}")
            self.ledger.end(run_id, run.epoch, "promoted", model=f"m{run.epoch}")
            self.platform.ended.add(run_id)

    @precondition(lambda self: self.platform.executions)
    @rule(pick=st.randoms(use_true_random=False))
    def kill(self, pick: random.Random) -> None:
        """The platform ends a run; a zombie of it may still be there."""
        self.platform.ended.add(pick.choice(sorted(self.platform.executions)))

    @invariant()
    def nothing_is_lost(self) -> None:
        state = self.ledger.state()
        assert set(self.ledger.inbox.versions()) == self.arrived
        assert set(state.done) <= self.arrived
        if state.run is not None:
            assert not set(state.run.versions) & set(state.done)
        trained = {version for version, done in state.done.items() if done.outcome == "promoted"}
        assert trained == set(self.effects)

    def teardown(self) -> None:
        """Left alone, everything that arrived is done."""
        if not hasattr(self, "ledger"):
            return
        for _ in range(60):
            self.now += timedelta(minutes=5)
            pumped(self.ledger, self.platform, self.now)
            run = self.ledger.state().run
            if run is None:
                if set(self.ledger.state().done) == self.arrived:
                    break
                continue
            for holder in self.platform.executions.get(run.id, []):
                try:
                    self.ledger.claim(run.id, holder)
                except Overtaken:
                    continue
                self.ledger.end(run.id, run.epoch, "kept")
                break
            self.platform.ended.add(run.id)
        state = self.ledger.state()
        assert set(state.done) == self.arrived
        assert (state.run, state.failure, state.attempt) == (None, None, 0)
        self.folder.cleanup()


TestDynamic = Dynamic.TestCase
TestDynamic.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "ledger"))


def test_a_burst_is_one_run_and_the_next_takes_what_came_meanwhile(ledger: Ledger) -> None:
    platform = Platform()
    assert pump(ledger, platform, NOW).did == "idle"
    for day in (3, 1, 2):
        assert ledger.arrive(arrival(day))
        assert not ledger.arrive(arrival(day, "again"))
    first = pump(ledger, platform, NOW, name="flights")
    assert first.run is not None
    assert (first.did, len(first.run.versions), first.run.fence) == ("started", 3, (1, 1))
    assert first.run.id == run_id_of("flights", first.run.versions, 1, 1)
    ledger.arrive(arrival(4))
    assert pump(ledger, platform, NOW).did == "running"
    ledger.claim(first.run.id, "a")
    ledger.end(first.run.id, 1, "promoted", model="m1", others={arrival(3).version: "quarantined"})
    second = pump(ledger, platform, NOW)
    assert second.run is not None
    assert (second.run.versions, second.run.fence) == ((arrival(4).version,), (2, 1))
    done = ledger.state().done
    assert (done[arrival(3).version].outcome, done[arrival(1).version].model) == ("quarantined", "m1")


def test_a_run_is_started_for_one_data_version(ledger: Ledger) -> None:
    ledger.arrive(arrival(1))
    assert pump(ledger, Platform(), NOW).why.endswith(", for 1 data version")


def test_a_run_that_ended_with_a_bad_model_ends_once_more_in_the_same_way(ledger: Ledger) -> None:
    """An exit task that was killed after it wrote the ledger."""
    ledger.arrive(arrival(1))
    run = pump(ledger, Platform(), NOW).run
    assert run is not None
    ledger.claim(run.id, "one")
    ended = ledger.end(run.id, 1, "kept", model="m1", bad=True)
    assert ended.bad == ("m1",)
    assert ledger.end(run.id, 1, "kept", model="m1", bad=True) == ended


def test_runs_that_fail_are_tried_again_later_then_given_up(ledger: Ledger) -> None:
    platform, now, ids = Platform(), NOW, []
    ledger.arrive(arrival(1))
    for attempt, minutes in enumerate((0, 1, 2), 1):
        now += timedelta(minutes=minutes)
        run = pump(ledger, platform, now, retries=RETRIES).run
        assert run is not None
        assert run.attempt == attempt
        ids.append(run.id)
        platform.ended.add(run.id)
        found = pump(ledger, platform, now, retries=RETRIES)
        assert found.did == ("waiting" if attempt < 3 else "idle")
        assert found.given_up == (() if attempt < 3 else (arrival(1).version,))
    assert len(set(ids)) == 3
    assert ledger.state().given_up == (arrival(1).version,)
    # Whoever calls later is told too, but did not find it out.
    assert pump(ledger, platform, now, retries=RETRIES) == PumpResult("idle", None, found.why)
    assert found.why == (
        "1 data version was given up. Last reason: the run ended without a result, or is gone. "
        f"Try again: headrace dynamic retry {ledger.uri} {arrival(1).version}"
    )
    assert ledger.state().history[-1].why == "the run ended without a result, or is gone"
    ledger.change(lambda state: state.restored([arrival(1).version]))
    again = pump(ledger, platform, now, retries=RETRIES).run
    assert again is not None
    assert again.fence == (2, 1)


def test_a_call_that_gives_versions_up_and_starts_the_next_run_reports_both(ledger: Ledger) -> None:
    platform, once = Platform(), Retries(attempts=1)
    lost = sorted(arrival(day).version for day in range(1, 13))
    for day in range(1, 13):
        ledger.arrive(arrival(day))
    run = pump(ledger, platform, NOW, retries=once).run
    assert run is not None
    ledger.arrive(arrival(13))
    platform.ended.add(run.id)
    found = pump(ledger, platform, NOW, retries=once, why=lambda _: "train: the disk is full")
    assert (found.did, found.given_up) == ("started", tuple(lost))
    assert found.run is not None
    assert found.run.versions == (arrival(13).version,)
    assert found.why.endswith(
        ", for 1 data version. 12 data versions were given up. Last reason: train: the disk is full. "
        f"Their names: headrace dynamic status {ledger.uri}"
    )
    assert found.to_json() == {"did": "started", "run": found.run.id, "why": found.why, "given_up": lost}


def test_a_ledger_is_the_same_whatever_failed_in_between(tmp_path: Path) -> None:
    contents = []
    for name, failures in (("calm", 0), ("troubled", 2)):
        ledger, platform, now = Ledger(str(tmp_path / name)), Platform(), NOW
        for day in (1, 2):
            ledger.arrive(arrival(day))
            for _ in range(failures):
                run = pump(ledger, platform, now, retries=RETRIES).run
                assert run is not None
                platform.ended.add(run.id)
                pump(ledger, platform, now, retries=RETRIES)
                now += timedelta(minutes=5)
            run = pump(ledger, platform, now, retries=RETRIES).run
            assert run is not None
            ledger.claim(run.id, "x")
            ledger.end(run.id, run.epoch, "promoted", model=f"m{day}")
        contents.append((tmp_path / name / "ledger.json").read_bytes())
    assert contents[0] == contents[1]


def test_a_copy_and_a_zombie_are_overtaken(ledger: Ledger) -> None:
    platform = Platform()
    ledger.arrive(arrival(1))
    first = pump(ledger, platform, NOW).run
    assert first is not None
    ledger.claim(first.id, "one")
    assert ledger.claim(first.id, "one").holder == "one"
    with pytest.raises(Overtaken, match=r"another execution of this run was first. Expected one, which holds it"):
        ledger.claim(first.id, "copy")
    platform.ended.add(first.id)
    assert pump(ledger, platform, NOW).did == "waiting"
    for act in (lambda: ledger.check(first.id, "one"), lambda: ledger.end(first.id, 1, "promoted")):
        with pytest.raises(Overtaken, match="none is under way"):
            act()
    second = pump(ledger, platform, NOW + timedelta(hours=1)).run
    assert second is not None
    assert second.fence > first.fence
    with pytest.raises(Overtaken, match=f"Received: {second.id}"):
        ledger.check(first.id, "one")


def test_a_refused_start_counts_as_a_failure(ledger: Ledger) -> None:
    platform = Platform()
    platform.fault = "refused"
    ledger.arrive(arrival(1))
    with pytest.raises(UsageError, match="the machine type does not exist"):
        pump(ledger, platform, NOW)
    assert pump(ledger, platform, NOW).why.endswith("the machine type does not exist")


@pytest.mark.parametrize("fault", ["killed before", "killed after", "lost answer"])
def test_a_start_that_was_interrupted_is_made_again_as_the_same_run(ledger: Ledger, fault: str) -> None:
    platform = Platform()
    platform.fault = fault
    ledger.arrive(arrival(1))
    assert pumped(ledger, platform, NOW) is None
    intent = ledger.state().run
    assert pump(ledger, platform, NOW).run == intent
    assert list(platform.executions.values()) == [[f"{intent.id}/0"]] if intent else False


def test_a_platform_that_does_not_answer_is_not_taken_for_a_failed_run(ledger: Ledger) -> None:
    platform = Platform()
    ledger.arrive(arrival(1))
    started = pump(ledger, platform, NOW).run
    platform.fault = "silent"
    with pytest.raises(PlatformError):
        pump(ledger, platform, NOW)
    platform.fault = ""
    assert pump(ledger, platform, NOW) == PumpResult(
        "running", started, f"run {started.id if started else ''} is under way"
    )


def test_many_callers_at_once_start_one_run(tmp_path: Path) -> None:
    for trial in range(5):
        ledger, platform = Ledger(str(tmp_path / str(trial))), Platform()
        together = threading.Barrier(16)

        def call(
            day: int, ledger: Ledger = ledger, platform: Platform = platform, together: threading.Barrier = together
        ) -> str:
            together.wait()
            ledger.arrive(arrival(day % 4 + 1))
            run = pump(ledger, platform, NOW).run
            assert run is not None
            return run.id

        with ThreadPoolExecutor(16) as pool:
            ids = set(pool.map(call, range(16)))
        assert (len(ids), len(platform.executions)) == (1, 1)
        assert len(ledger.inbox.versions()) == 4


def test_an_intent_that_others_had_first_is_refused(ledger: Ledger) -> None:
    ledger.arrive(arrival(1))
    before = ledger.state()
    version, fence = [arrival(1).version], before.next_fence
    ledger.change(lambda state: state.started(version, "one", fence))
    with pytest.raises(Overtaken, match=r"another run was started\. Received: one"):
        ledger.change(lambda state: state.started(version, "two", fence))
    ledger.change(lambda state: state.failed("one", "gone", NOW, RETRIES))
    with pytest.raises(Overtaken, match="Received: ended"):
        ledger.change(lambda state: state.started(version, "two", fence))


def test_a_canary_that_a_run_left(tmp_path: Path) -> None:
    """Its steps are taken by the pump, which asks no platform about the run any more."""
    ledger, platform = Ledger(str(tmp_path)), Platform()
    for day in (1, 2):
        ledger.arrive(arrival(day))
    run = pump(ledger, platform, NOW, retries=RETRIES).run
    assert run is not None
    ledger.claim(run.id, "x")
    bad = max(run.versions)
    ledger.watch(run.id, "x", Watch("m1", {bad: "quarantined"}))
    platform.fault = "silent"
    answers: list[CanaryProgress | Exception] = [
        CanaryProgress(None, "waits"),
        PlatformError("the endpoint does not answer"),
        CanaryProgress("kept", "rolled back", bad=True),
    ]
    taken: list[LedgerRun] = []

    def step(given: LedgerRun) -> CanaryProgress:
        taken.append(given)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    untouched = pump(ledger, platform, NOW)
    assert (untouched.did, untouched.why) == ("running", f"run {run.id}: its canary is under way")
    assert pump(ledger, platform, NOW, step=step).why == f"run {run.id}: waits"
    with pytest.raises(PlatformError, match="does not answer"):
        pump(ledger, platform, NOW, step=step)
    assert ledger.state().run == taken[0]
    assert pump(ledger, platform, NOW, step=step).did == "idle"
    state = ledger.state()
    assert (state.bad, [one.outcome for one in state.history]) == (("m1",), ["kept"])
    assert state.done[bad].outcome == "quarantined"
    assert len(taken) == 3


def test_a_step_of_a_canary_that_is_refused_is_a_failed_attempt(tmp_path: Path) -> None:
    ledger, platform = Ledger(str(tmp_path)), Platform()
    ledger.arrive(arrival(1))
    run = pump(ledger, platform, NOW, retries=RETRIES).run
    assert run is not None
    ledger.claim(run.id, "x")
    ledger.watch(run.id, "x", Watch("m1"))

    def step(_: LedgerRun) -> CanaryProgress:
        raise UsageError("the endpoint was stopped")

    with pytest.raises(UsageError, match="the endpoint was stopped"):
        pump(ledger, platform, NOW, step=step, retries=RETRIES)
    state = ledger.state()
    assert state.run is None
    assert state.failure is not None
    assert state.failure.reason == "the endpoint was stopped"
