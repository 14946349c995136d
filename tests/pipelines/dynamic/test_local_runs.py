"""Runs on this machine: whether one is under way, and that it is started once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.day_spans import day, problem_file, rows_of, write_rows

from headrace.core.errors import UsageError
from headrace.core.ledger.state import LedgerRun
from headrace.core.steps.workspace import run_uri
from headrace.core.storage import lock
from headrace.core.storage.lock import FOLDER_LOCK, locked
from headrace.pipelines.dynamic import local_runs
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.drive import utc_now
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.local_runs import DetachedRuns, run_named, status_of
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

RUN = LedgerRun("days-1", 1, 1, ("a" * 16,))


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
    # Whoever held them wrote nothing: the run is started again.
    assert status_of(settings, RUN.id) == "absent"
    Path(run_uri(settings.root, RUN.id), "pipeline.yaml").touch()
    with held(settings):
        assert status_of(settings, RUN.id) == "alive"
    assert status_of(settings, RUN.id) == "ended"


@pytest.mark.parametrize("moment", [1, 2])
def test_a_run_that_starts_while_its_status_is_asked_has_not_ended(
    settings: DynamicSettings, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Its process begins right after one of the looks at its locks."""
    folder = run_uri(settings.root, RUN.id)
    looks: list[str] = []
    with ExitStack() as process:

        def is_locked(uri: str, *, name: str = FOLDER_LOCK) -> bool:
            found = lock.is_locked(uri, name=name)
            looks.append(name)
            if len(looks) == moment:
                process.enter_context(locked(folder))
                Path(folder, "run.log").touch()
            return found

        monkeypatch.setattr(local_runs, "is_locked", is_locked)
        assert status_of(settings, RUN.id) in ("absent", "alive")
    assert len(looks) == 2


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
    triggered = threading.Event()
    with ThreadPoolExecutor(1) as process:

        def launch(self: DetachedRuns, run_id: str, folder: str) -> None:
            """A process that holds the lock until every trigger has ticked, and dies."""
            launched.append(run_id)
            Path(folder, "run.log").touch()
            begun = threading.Event()

            def work() -> None:
                with locked(folder):
                    begun.set()
                    triggered.wait()

            process.submit(work)
            begun.wait()

        monkeypatch.setattr(DetachedRuns, "_launch", launch)
        data = write_rows(tmp_path / "a.csv", rows_of(day(0)))
        now = utc_now()

        def trigger(number: int) -> str:
            arrive(settings, data=data, span=day(0), reason="file", event=str(number), now=now)
            return tick(settings, now).did

        with ThreadPoolExecutor(16) as triggers:
            try:
                did = list(triggers.map(trigger, range(16)))
            finally:
                triggered.set()
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
