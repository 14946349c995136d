"""Two weeks unattended: runs that are killed at every step and every write of a state end as if nothing had happened.

Files come late, more than once, and are overwritten. The short form takes a minute or two.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.day_spans import PROBLEM, day, problem_file
from support.deliveries import Deliveries, Write, random_deliveries
from support.dynamic_engine import STEPS, InProcessRuns, Killed
from support.endpoint_load import Load

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.operate import stop
from headrace.components.evaluate.contest.challenge import Challenge
from headrace.components.registry.open import open_registry
from headrace.components.train.request import TrainingRequest
from headrace.core.ledger.state import LedgerState
from headrace.core.storage import compare_and_set
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

pytestmark = pytest.mark.timeout(900)
START = datetime(2026, 2, 1, tzinfo=UTC)
UNGATED = PROBLEM.replace("quarantine_budget", "gate=None, quarantine_budget")
ROW = json.dumps({"instances": [{"x": 50, "c": "a"}]}).encode()


class _Clock(datetime):
    """The time of every change of a registry or an endpoint."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return START.astimezone(tz)


@pytest.fixture(autouse=True)
def one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.registry.origin.datetime", _Clock)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], DynamicSettings]]:
    """Makes a dynamic training in a root of its own, whose data are the same."""
    made: list[DynamicSettings] = []

    def settings(name: str) -> DynamicSettings:
        made.append(
            initialize(
                problem_file(tmp_path, UNGATED).path,
                str(tmp_path / name),
                training=TrainingRequest(overrides={"epochs": 1}),
                challenge=Challenge(tolerance=100.0, stale_after=1),
                announce=(str(tmp_path / name / "events"),),
                attempts=1000,
            )
        )
        return made[-1]

    yield settings
    for one in made:
        if Path(one.endpoint).is_dir():
            stop(one.endpoint)


class Killer:
    """Kills the process once at each point: before and after each step, and before and after each write of a state.

    A point is a step of a day, and the number of the write in it; 0 stands for the step itself.
    """

    def __init__(self) -> None:
        self.points: set[tuple[int, str, int, bool]] = set()
        self._day, self._step, self._count = 0, "pump", 0
        self._write = compare_and_set._write

    def begin(self, number: int) -> None:
        """A tick of a day begins."""
        self._day, self._step, self._count = number, "pump", 0

    def at(self, step: str, when: str) -> None:
        """A step begins or has ended."""
        self._step, self._count = step, 0
        self._kill(when == "after")

    def write(self, uri: str, content: bytes, token: str | None) -> bool:
        """Stands for the write of a file by compare-and-set."""
        self._count += 1
        self._kill(False)
        written = self._write(uri, content, token)
        self._kill(True)
        return written

    def _kill(self, after: bool) -> None:
        point = (self._day, self._step, self._count, after)
        if point not in self.points:
            self.points.add(point)
            raise Killed


def play(settings: DynamicSettings, folder: Path, deliveries: Deliveries, killer: Killer | None = None) -> list[str]:
    """Plays the days: files are written, then their events come, then a tick. Returns the steps that were run."""
    runs, now = InProcessRuns(settings, folder / "artifacts", killer.at if killer else lambda *_: None), START
    for number in deliveries.days:
        for write in deliveries.writes.get(number, ()):
            write.to(folder.parent / "data")
        came = START + timedelta(days=number)
        while True:
            # Attempts are minutes apart; the day of a delivery is the same in each.
            now = max(now + timedelta(hours=2), came)
            if killer is not None:
                killer.begin(number)
            try:
                for event, span in enumerate(deliveries.events.get(number, ())):
                    data = str(folder.parent / "data" / f"{span}.csv")
                    arrive(settings, data=data, span=span, reason="file", event=str(event), now=came)
                pumped = tick(settings, now, runs=runs)
            except Killed:
                continue
            if pumped.did == "idle":
                break
    return runs.calls


def stored(settings: DynamicSettings) -> dict[str, bytes]:
    """The files that say what became of data and models, without what differs between two roots."""
    # Each root trained its own models: their records have the seconds that it took.
    hidden = re.compile(rb'"digest": "[0-9a-f]{64}"|' + re.escape(os.fsencode(settings.root)))
    files = [Path(settings.folder) / "ledger.json", Path(settings.registry) / "registry.json"]
    files += sorted(Path(settings.root, "events").glob("*.json"))
    return {file.name: hidden.sub(b"", file.read_bytes()) for file in files}


def weights(settings: DynamicSettings) -> list[np.ndarray]:
    """The weights of the champion."""
    import keras

    registry = open_registry(settings.registry)
    model = Path(registry.path(registry.state().aliases["champion"]))
    found: list[np.ndarray] = keras.models.load_model(model / "model.keras", compile=False).get_weights()
    return found


def url_of(settings: DynamicSettings) -> str:
    """Where the endpoint answers; "" before its first version was promoted."""
    promoted = open_registry(settings.registry, new=True).state().aliases
    return str(EndpointFolder(settings.endpoint).existing().url) if promoted else ""


SHORT = Deliveries(
    writes={
        0: [Write(day(0))],
        1: [Write(day(1)), Write(day(2), broken=True)],
        # Corrected: a new version of the span.
        2: [Write(day(3)), Write(day(2), 1)],
    },
    # The second day's event is two days late, and that of the corrected file comes again a day later.
    events={0: [day(0), day(0)], 1: [day(2), day(0), day(2)], 2: [day(3), day(2)], 3: [day(1), day(2), day(3), day(1)]},
)


def check_unattended(
    make: Callable[[str], DynamicSettings], folder: Path, monkeypatch: pytest.MonkeyPatch, deliveries: Deliveries
) -> tuple[Killer, LedgerState]:
    """Plays deliveries twice: each version of the data once without a kill, and all of them with kills."""
    undisturbed, disturbed = make("undisturbed"), make("disturbed")
    play(undisturbed, folder / "undisturbed", deliveries.once())
    killer = Killer()
    with monkeypatch.context() as patched, Load(lambda: url_of(disturbed), ROW, pause_s=0.05) as load:
        patched.setattr(compare_and_set, "_write", killer.write)
        play(disturbed, folder / "disturbed", deliveries, killer)
    assert load.failed == []
    # Every champion answered.
    assert set(load.versions) >= set(open_registry(disturbed.registry).state().aliases.values())
    assert stored(disturbed) == stored(undisturbed)
    for mine, other in zip(weights(disturbed), weights(undisturbed), strict=True):
        np.testing.assert_array_equal(mine, other)
    state = disturbed.ledger.state()
    assert (state.run, state.failure) == (None, None)
    # Every version of the data, in one run.
    arrived = disturbed.ledger.inbox.versions()
    assert sorted(version for ending in state.history for version in ending.versions) == arrived
    assert len(arrived) == sum(map(len, deliveries.once().events.values()))
    return killer, state


def test_a_few_days_unattended(
    make: Callable[[str], DynamicSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer, state = check_unattended(make, tmp_path, monkeypatch, SHORT)
    # Every state: inbox, ledger, epoch, spans, lineage, registry, endpoint, announcements.
    assert len(killer.points) >= 60
    assert {step for _, step, _, _ in killer.points} == {"pump", *STEPS}
    # The last run has a late span alone: the champion saw the newest one, and must be beaten.
    assert [ending.outcome for ending in state.history] == ["promoted", "quarantined", "promoted", "kept"]
    assert [done.outcome for done in state.done.values()].count("quarantined") == 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_unattended(
    make: Callable[[str], DynamicSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    deliveries = random_deliveries(14, 3, late=0.1, overwritten=0.05, repeats=5, seed=seed)
    killer, state = check_unattended(make, tmp_path, monkeypatch, deliveries)
    assert len(killer.points) >= 60
    for step in ("pump", *STEPS):
        assert len({point for point in killer.points if point[1] == step}) >= 14, step
    outcomes = {done.outcome for done in state.done.values()}
    assert outcomes >= {"promoted", "quarantined"}
