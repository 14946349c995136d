"""Implementation of `headrace run dynamic`: runs what is due, prints the outcomes, and raises the error of the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace.core.errors import PlatformError
from headrace.pipelines.console import print_dynamic
from headrace.pipelines.dynamic.drive import drive, read_local, utc_now
from headrace.pipelines.dynamic.local_runs import execute, run_named
from headrace.pipelines.dynamic.settings import read
from headrace.pipelines.dynamic.tick import raise_for_given_up, tick
from headrace.pipelines.local_run import raise_for

if TYPE_CHECKING:
    from rich.console import Console


def run_all(root: str, console: Console, report: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Runs what is due in this process, until nothing is due or a canary is left to ticks.

    Args:
        root: root of the dynamic training, as of `settings.read`.
        console: console on which steps and outcomes are printed.
        report: if given, receives the outcomes instead of the console, before an error is raised: `did`, `run` and
            `why` of the last tick, and `runs`, the summaries.

    Raises:
        HeadraceError: the last run failed, with its error. It is retried later unless it is given up.
        PlatformError: data was given up or waits for the next attempt, or another process executes the run under way.
    """
    settings = read_local(root)
    if report is None:
        pumped, summaries = drive(settings, console, ended=lambda summary: print_dynamic(console, summary))
        console.print(f"{pumped.did}: {pumped.why}", soft_wrap=True, markup=False)
    else:
        pumped, summaries = drive(settings, console)
        run_id = None if pumped.run is None else pumped.run.id
        report({"did": pumped.did, "run": run_id, "why": pumped.why, "runs": summaries})
    if summaries:
        raise_for(summaries[-1])
    raise_for_given_up(settings, pumped)
    if pumped.did == "idle":
        return
    if pumped.run is not None and pumped.run.watch is not None:
        console.print(f"each tick runs a step of the canary: headrace tick {root}", soft_wrap=True, markup=False)
        return
    fix = "Run the same command again later" if pumped.did == "waiting" else "Wait for its end"
    raise PlatformError("data waits", where=settings.folder, received=pumped.why, fix=fix)


def run_one(root: str, run_id: str, console: Console, report: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Executes the run that the ledger names, and then starts the next one that is due.

    Args:
        root: root of the dynamic training, as of `settings.read`.
        run_id: id of the run.
        console: console on which steps and the outcome are printed.
        report: if given, receives the summary as `runs` instead of the console.

    Raises:
        UsageError: the ledger names another run.
        HeadraceError: the run failed, with its error.
    """
    settings = read_local(root)
    summary = execute(settings, run_named(settings, run_id), console)
    if report is None:
        print_dynamic(console, summary)
    else:
        report({"runs": [summary]})
    raise_for(summary)
    # Read again, because the stored settings may have changed.
    tick(read(settings.folder), utc_now())
