"""Runs of dynamic training on this machine: in the calling process, or each in its own process.

A run is under way while a process holds the lock of its folder, which the operating system releases when it dies.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import Status
from headrace.core.ledger.state import LedgerRun
from headrace.core.steps import workspace
from headrace.core.storage.lock import FOLDER_LOCK, is_locked, locked
from headrace.pipelines.dynamic.arguments import arguments_of
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.local_run import RunPlan, run_plan
from headrace.pipelines.runs.local_root import work_of

if TYPE_CHECKING:
    from rich.console import Console

# A started process locks its folder within a second or two, on a loaded machine later.
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.05
# Held while a process is started: the run is under way, although its process does not hold the lock yet.
_START_LOCK = ".start.lock"


class ForegroundRuns:
    """Runs in this process: `start` returns when the run has ended.

    Args:
        settings: settings of the dynamic training.
        console: console on which the steps are printed.
        ended: called with the summary of each run that ended.
    """

    def __init__(
        self, settings: DynamicSettings, console: Console, ended: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> None:
        self._settings = settings
        self._console = console
        self._ended = ended

    def status(self, run_id: str) -> Status:
        """See `PlatformRuns`."""
        return status_of(self._settings, run_id)

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """See `PlatformRuns`."""
        del arrivals
        self._ended(execute(self._settings, run, self._console))


class DetachedRuns:
    """Runs in separate processes, `headrace run dynamic --run ID`, which outlive this one.

    Args:
        settings: settings of the dynamic training.
    """

    def __init__(self, settings: DynamicSettings) -> None:
        self._settings = settings

    def status(self, run_id: str) -> Status:
        """See `PlatformRuns`."""
        return status_of(self._settings, run_id)

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """See `PlatformRuns`: returns when the process holds the lock of the run's folder, or has ended."""
        del arrivals
        folder = _folder(self._settings, run.id)
        with locked(folder, timeout_s=_START_SECONDS, name=_START_LOCK):
            # A concurrent caller started it.
            if is_locked(folder) or _has_begun(folder):
                return
            self._launch(run.id, folder)

    def _launch(self, run_id: str, folder: str) -> None:
        # -P: a folder `core` in the working folder must not be imported.
        command = [sys.executable, "-P", "-m", "headrace", "run", "dynamic"]
        command += ["--root", self._settings.folder, "--run", run_id]
        log = Path(storage.local_path(folder)) / "run.log"
        with storage.writing(folder), log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # If the run ends while this process still runs, its exit status must be collected.
        threading.Thread(target=process.wait, name="reaper", daemon=True).start()
        deadline = time.monotonic() + _START_SECONDS
        while not is_locked(folder) and process.poll() is None:
            if time.monotonic() > deadline:
                raise PlatformError("the run does not start", where=str(log))
            time.sleep(_LOOK_SECONDS)


def status_of(settings: DynamicSettings, run_id: str) -> Status:
    """Status of a run on this machine: "alive" if a process executes or starts it."""
    folder = _folder(settings, run_id)
    # In this order, so that a run that is being started is "absent" or "alive", never "ended". Its start lock is held
    # when it writes its first file, and until its process holds the lock of the folder.
    begun = _has_begun(folder)
    if is_locked(folder, name=_START_LOCK) or is_locked(folder):
        return "alive"
    return "ended" if begun else "absent"


def _folder(settings: DynamicSettings, run_id: str) -> str:
    """The local folder of a run, with its locks."""
    return workspace.run_uri(work_of(settings.root), run_id)


def _has_begun(folder: str) -> bool:
    """Whether a run wrote a file into its folder. A process that was killed before that leaves only locks."""
    path = storage.local_path(folder)
    return path.is_dir() and any(entry.name not in (FOLDER_LOCK, _START_LOCK) for entry in path.iterdir())


def execute(settings: DynamicSettings, run: LedgerRun, console: Console) -> dict[str, Any]:
    """Executes a run in this process, step by step.

    Returns:
        The run's summary.

    Raises:
        PlatformError: the engine failed, another process executes the run, or the exit task wrote no summary.
    """
    # `started` is added when the run begins.
    arguments = {name: value for name, value in arguments_of(settings, run, 0.0).items() if name != "started"}
    plan = RunPlan("dynamic", settings.name, run.id, settings.root, arguments)
    return run_plan(plan, console)


def run_named(settings: DynamicSettings, run_id: str) -> LedgerRun:
    """The run under way, by its id.

    Raises:
        UsageError: the ledger names another run, or none.
    """
    run = settings.ledger.state().run
    if run is None or run.id != run_id:
        raise UsageError(
            "the ledger does not name this run",
            where=settings.folder,
            expected="no run" if run is None else run.id,
            received=run_id,
        )
    return run
