"""Tick of dynamic training: starts the run that is due, checks the run under way, or runs a step of its canary."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import datetime

from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.ledger.pump import CanaryProgress, PlatformRuns, PumpResult, pump
from headrace.core.ledger.state import LedgerRun
from headrace.core.signals import Terminated
from headrace.core.steps import workspace
from headrace.core.steps.workspace import summary_uri
from headrace.core.storage.compare_and_set import json_of, read_with_token
from headrace.core.text import listed
from headrace.pipelines.dynamic.arguments import announced_uri
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.runs.local_root import work_of


def tick(settings: DynamicSettings, now: datetime, *, runs: PlatformRuns | None = None) -> PumpResult:
    """Pumps the ledger with the runs of the platform. Every trigger and every schedule calls it, in any frequency.

    First, it announces the champion to each destination that has not accepted it yet, whoever promoted it; `why` of the
    result reports failed announcements. If a run left a canary under way, it runs one step of it.

    Args:
        settings: settings of the dynamic training.
        now: current time, with a time zone.
        runs: runs of the platform; None for those of the settings.

    Returns:
        What the pump did: a run was started, is under way, waits for its next attempt, or none is due; and the data
        versions that were given up, see `raise_for_given_up`.

    Raises:
        UserError: the platform rejected the run, or a step of its canary failed. Both count as a failed attempt.
        PlatformError: the platform does not respond; calling again is safe.
        DataError: the ledger or an arrival is damaged.
    """
    from headrace.pipelines.dynamic.runs import runs_of

    chosen = runs or runs_of(settings)
    unsent = announce_again(settings)

    def step(run: LedgerRun) -> CanaryProgress:
        from headrace.pipelines.dynamic.canary import take_step

        nonlocal unsent
        watched = take_step(settings, run)
        if watched.outcome is not None:
            unsent = announce_again(settings)
        return watched

    name = settings.name.replace("_", "-").lower()
    reason = functools.partial(_why_failed, settings)
    pumped = pump(settings.ledger, chosen, now, name=name, retries=settings.retries, step=step, why=reason)
    return replace(pumped, why=f"{pumped.why}. {unsent}") if unsent else pumped


def raise_for_given_up(settings: DynamicSettings, pumped: PumpResult) -> None:
    """Raises an error if the pump gave data versions up.

    Raises:
        PlatformError: data versions were given up.
    """
    if pumped.given_up:
        raise PlatformError(
            "data versions were given up, as their runs failed too often",
            where=settings.folder,
            received=listed(pumped.given_up),
            fix=f"The reasons, and the command that tries them again: headrace dynamic status {settings.folder}",
        )


def _why_failed(settings: DynamicSettings, run: LedgerRun) -> str:
    """The error in the summary of a failed run, and its URI; without a summary, the folder of the run."""
    uri = summary_uri(settings.root, run.id)
    try:
        found = read_with_token(uri)
        why = "" if found is None else str(json_of(found.content, uri).get("why") or "")
    except (DataError, AttributeError):
        why = ""
    if why:
        return f"{why}: see {uri}"
    # The logs of a run that was killed on this machine are not in a bucket yet.
    root = work_of(settings.root) if settings.platform == "local" else settings.root
    return f"the run ended without a result, or is gone: see {workspace.run_uri(root, run.id)}"


def announce_again(settings: DynamicSettings) -> str:
    """Sends the registry's champion to every destination that has not accepted it yet.

    The next tick retries failed announcements, so that a destination never prevents a run from starting.

    Returns:
        The failed announcements, as text; "" if none failed.
    """
    if not settings.announce:
        return ""
    from headrace.components.announce.announce import announce
    from headrace.components.registry.open import open_registry

    try:
        registry = open_registry(settings.registry, new=True)
        failed = announce(registry, settings.name, settings.announce, announced_uri(settings)).failed
    except Terminated:
        raise
    except HeadraceError as error:
        failed = (("any destination", error.paragraph),)
    return " ".join(f"Not announced to {name}, which the next tick repeats: {error}" for name, error in failed)
