"""Tick of dynamic training: starts the run that is due, or finds out what became of the one under way."""

from __future__ import annotations

from datetime import datetime

from headrace.core.ledger.pump import Pumped, Runs, pump
from headrace.pipelines.dynamic.settings import DynamicSettings


def tick(settings: DynamicSettings, now: datetime, *, runs: Runs | None = None) -> Pumped:
    """Pumps the ledger with the runs of the platform; every trigger and every schedule calls it, as often as it likes.

    Args:
        settings: of the dynamic training.
        now: the time, with its zone.
        runs: of the platform; None for those of the settings.

    Returns:
        What was done: a run was started, is under way, waits for its next attempt, or none is due.

    Raises:
        UserError: the platform refused the run, which counts as a failed attempt.
        PlatformError: the platform does not answer; calling again is safe.
        DataError: the ledger or an arrival is damaged.
    """
    from headrace.pipelines.dynamic.runs import runs_of

    chosen = runs or runs_of(settings)
    return pump(settings.ledger, chosen, now, name=settings.name.replace("_", "-").lower(), retries=settings.retries)
