"""Driver of dynamic training on this machine: runs what is due, one run after another, until nothing is.

It takes the time from a clock, so that weeks are played in minutes.
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
    """The time now, in UTC."""
    return datetime.now(UTC)


def drive(
    settings: DynamicSettings,
    console: Console | None = None,
    clock: Clock = utc_now,
    *,
    ended: Callable[[dict[str, Any]], None] = lambda _: None,
) -> tuple[PumpResult, list[dict[str, Any]]]:
    """Runs what is due in this process until the ledger is idle, or waits for a later time.

    Each run has the settings that are stored when it starts: a span that was withdrawn, and settings that were
    replaced, count from the next run.

    Args:
        settings: of a dynamic training on this machine.
        console: where the steps are shown; None shows nothing.
        clock: the time, by which failed runs wait.
        ended: called with the summary of each run when it has ended.

    Returns:
        The last answer of the pump, with all data versions that were given up meanwhile, and the summaries of the runs.

    Raises:
        PlatformError: the engine failed, or the disk or a service; driving again is safe.
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
    """The settings of a dynamic training on this machine; errors as of `settings.read`.

    Raises:
        UsageError: it is on another platform, or on another machine.
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
