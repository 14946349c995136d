"""Driver of dynamic training on this machine: runs what is due, one run after another, until nothing is.

It takes the time from a clock, so that weeks are played in minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headrace.core.ledger.pump import Pumped
from headrace.pipelines.dynamic.local_runs import ForegroundRuns
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

if TYPE_CHECKING:
    from rich.console import Console

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def drive(
    settings: DynamicSettings, console: Console | None = None, clock: Clock = utc_now
) -> tuple[Pumped, list[dict[str, Any]]]:
    """Runs what is due in this process until the ledger is idle, or waits for a later time.

    Args:
        settings: of a dynamic training on this machine.
        console: where the steps are shown; None shows nothing.
        clock: the time, by which failed runs wait.

    Returns:
        The last answer of the pump, and the summaries of the runs.

    Raises:
        PlatformError: the engine failed, or the disk or a service; driving again is safe.
        UserError: the settings, the ledger or an arrival is damaged.
    """
    if console is None:
        from rich.console import Console

        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            return drive(settings, Console(file=nowhere), clock)
    summaries: list[dict[str, Any]] = []
    runs = ForegroundRuns(settings, console, summaries.append)
    while True:
        pumped = tick(settings, clock(), runs=runs)
        if pumped.did != "started":
            return pumped, summaries
