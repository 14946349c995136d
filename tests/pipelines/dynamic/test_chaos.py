"""A run that is killed at every write of a state, and again, ends as if nothing had happened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local.operate import stop
from headrace.components.evaluate.contest.challenge import Challenge
from headrace.components.train.request import Request
from headrace.core.storage import compare_and_set
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick
from tests.support.day_spans import PROBLEM, day, problem_file, rows_of, write_rows
from tests.support.dynamic_engine import InProcessRuns, Killed

pytestmark = pytest.mark.timeout(900)
START = datetime(2026, 2, 1, tzinfo=UTC)
UNGATED = PROBLEM.replace("quarantine_budget", "gate=None, quarantine_budget")
DAYS = 3


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
                training=Request(overrides={"epochs": 1}),
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
    """Kills the process once at each write of a state: before it, and another time after it.

    A point is a write in order, of a step, while a day is played.
    """

    def __init__(self) -> None:
        self.points: set[tuple[int, str, int, bool]] = set()
        self._day, self._step, self._count = 0, "pump", 0
        self._write = compare_and_set._write

    def begin(self, number: int) -> None:
        """A tick of a day begins."""
        self._day, self._step, self._count = number, "pump", 0

    def at(self, step: str, _: str) -> None:
        """A step begins or has ended."""
        self._step, self._count = step, 0

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


def play(settings: DynamicSettings, folder: Path, killer: Killer | None = None) -> list[str]:
    """Plays the days: two good ones, and one whose column is broken. Returns the steps that were run."""
    runs, now = InProcessRuns(settings, folder / "artifacts", killer.at if killer else lambda *_: None), START
    for number in range(DAYS):
        rows = rows_of(day(number), scale=1 if number < DAYS - 1 else 1_000_000)
        data = write_rows(folder.parent / "data" / f"{number}.csv", rows)
        while True:
            now += timedelta(hours=2)
            if killer is not None:
                killer.begin(number)
            try:
                arrive(settings, data=data, span=day(number), reason="file", event="", now=START)
                pumped = tick(settings, now, runs=runs)
            except Killed:
                continue
            if pumped.did == "idle":
                break
    return runs.calls


def test_killed_at_every_write(
    make: Callable[[str], DynamicSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, disturbed = make("undisturbed"), make("disturbed")
    assert play(undisturbed, tmp_path / "undisturbed").count("deploy") == 2
    killer = Killer()
    with monkeypatch.context() as patched:
        patched.setattr(compare_and_set, "_write", killer.write)
        play(disturbed, tmp_path / "disturbed", killer)
    # Every state: inbox, ledger, epoch, spans, lineage, registry, endpoint, announcements.
    assert len(killer.points) >= 60
    for settings in (undisturbed, disturbed):
        state = settings.ledger.state()
        assert [ending.outcome for ending in state.history] == ["promoted", "promoted", "quarantined"]
        assert (state.run, state.failure) == (None, None)

    def stored(settings: DynamicSettings) -> dict[str, bytes]:
        # Each root trained its own models: their records have the seconds that it took.
        hidden = re.compile(rb'"digest": "[0-9a-f]{64}"|' + re.escape(os.fsencode(settings.root)))
        files = [Path(settings.folder) / "ledger.json", Path(settings.registry) / "registry.json"]
        files += sorted(Path(settings.root, "events").glob("*.json"))
        return {file.name: hidden.sub(b"", file.read_bytes()) for file in files}

    assert stored(disturbed) == stored(undisturbed)
    assert len(stored(disturbed)) == 4
