"""Runs on this machine: whether one is under way, and that it is started once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.day_spans import day, problem_file, rows_of, write_rows

from headrace.core.errors import UsageError
from headrace.core.ledger.state import Run
from headrace.core.steps.workspace import run_uri
from headrace.core.storage.lock import locked
from headrace.pipelines.dynamic import local_runs
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.drive import utc_now
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.local_runs import DetachedRuns, run_named, status_of
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

RUN = Run("days-1", 1, 1, ("a" * 16,))


@pytest.fixture
def settings(tmp_path: Path) -> DynamicSettings:
    return initialize(problem_file(tmp_path).path, str(tmp_path / "root"))


@contextmanager
def held(settings: DynamicSettings, name: str = ".lock") -> Iterator[None]:
    with locked(run_uri(settings.root, RUN.id), name=name):
        yield


def test_the_status_follows_the_locks(settings: DynamicSettings) -> None:
    assert status_of(settings, RUN.id) == "absent"
    with held(settings, ".start.lock"):
        assert status_of(settings, RUN.id) == "alive"
    with held(settings):
        assert status_of(settings, RUN.id) == "alive"
    assert status_of(settings, RUN.id) == "ended"


def test_a_process_that_refuses_the_run_has_ended(settings: DynamicSettings) -> None:
    """The ledger does not name it: a real process, which ends with the status of a mistake."""
    DetachedRuns(settings).start(RUN, [])
    log = Path(run_uri(settings.root, RUN.id), "run.log").read_text()
    assert "the ledger does not name this run" in log
    assert status_of(settings, RUN.id) == "ended"
    with pytest.raises(UsageError, match="the ledger does not name this run"):
        run_named(settings, RUN.id)


def test_many_ticks_at_once_start_one_process(
    settings: DynamicSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    with ThreadPoolExecutor(1) as process:

        def launch(self: DetachedRuns, run_id: str, folder: str) -> None:
            """A process that holds the lock for a while, and dies."""
            launched.append(run_id)
            begun: list[bool] = []

            def work() -> None:
                with locked(folder):
                    begun.append(True)
                    time.sleep(1.0)

            process.submit(work)
            while not begun:
                time.sleep(0.001)

        monkeypatch.setattr(DetachedRuns, "_launch", launch)
        data = write_rows(tmp_path / "a.csv", rows_of(day(0)))
        now = utc_now()

        def trigger(number: int) -> str:
            arrive(settings, data=data, span=day(0), reason="file", event=str(number), now=now)
            return tick(settings, now).did

        with ThreadPoolExecutor(16) as triggers:
            did = list(triggers.map(trigger, range(16)))
    assert set(did) <= {"started", "running"}
    assert len(launched) == 1
    # It died without a result: counted, and due again after a while.
    assert tick(settings, now).did == "waiting"


def test_a_process_that_never_holds_the_lock(settings: DynamicSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_runs, "_START_SECONDS", 0.2)
    monkeypatch.setattr(local_runs.sys, "executable", "/bin/sleep")
    # `sleep` refuses its arguments, and ends.
    DetachedRuns(settings).start(RUN, [])
    assert status_of(settings, RUN.id) == "ended"
