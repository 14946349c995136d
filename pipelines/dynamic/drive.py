"""Driver of dynamic training on this machine: runs what is due, one run after another, until nothing is due.

It reads the time from a clock, so that weeks can be simulated in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UsageError
from headrace.core.ledger.pump import PumpResult
from headrace.pipelines.dynamic.local_runs import ForegroundRuns
from headrace.pipelines.dynamic.machine import check_machine
from headrace.pipelines.dynamic.settings import DynamicSettings, read
from headrace.pipelines.dynamic.tick import tick

if TYPE_CHECKING:
    from rich.console import Console

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def drive(
    settings: DynamicSettings,
    console: Console | None = None,
    clock: Clock = utc_now,
    *,
    ended: Callable[[dict[str, Any]], None] = lambda _: None,
) -> tuple[PumpResult, list[dict[str, Any]]]:
    """Runs what is due in this process, until no run is started.

    Each run uses the settings that are stored when it starts: a withdrawn span and replaced settings apply from the
    next run.

    Args:
        settings: settings of a dynamic training on this machine.
        console: console on which the steps are printed; None prints nothing.
        clock: returns the time, with a time zone; retries of failed runs depend on it.
        ended: called with the summary of each run after it has ended.

    Returns:
        The last result of the pump, with all data versions given up by this call, and the summaries of the runs.

    Raises:
        PlatformError: the engine, the disk or a service failed; calling again is safe.
        UserError: the settings, the ledger or an arrival is damaged, or the training is on another platform now.
    """
    from rich.console import Console

    shown = console or Console(quiet=True, force_terminal=False)
    summaries: list[dict[str, Any]] = []
    given_up: list[str] = []

    def add(summary: dict[str, Any]) -> None:
        summaries.append(summary)
        ended(summary)

    while True:
        present = read_local(settings.folder)
        pumped = tick(present, clock(), runs=ForegroundRuns(present, shown, add))
        given_up += pumped.given_up
        if pumped.did != "started":
            return replace(pumped, given_up=tuple(given_up)), summaries


def read_local(root: str) -> DynamicSettings:
    """The settings of a dynamic training on this machine.

    Raises:
        UsageError: the training is on another platform or machine, or does not exist.
        DataError, PlatformError: as of `settings.read`.
    """
    settings = read(root)
    if settings.platform != "local":
        raise UsageError(
            "the dynamic training runs on another platform",
            where=settings.uri,
            expected="local",
            received=settings.platform,
            fix=f"Start what is due there: headrace tick {root}",
        )
    check_machine(settings)
    return settings
