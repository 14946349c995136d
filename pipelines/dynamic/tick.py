"""Tick of dynamic training: starts the run that is due, finds out what became of another, or takes a canary's step."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.core.errors import DataError, HeadraceError
from headrace.core.ledger.pump import Pumped, Runs, Watched, pump
from headrace.core.ledger.state import Run
from headrace.core.signals import Terminated
from headrace.core.steps import workspace
from headrace.core.steps.workspace import summary_uri
from headrace.core.storage.compare_and_set import json_of, read_with_token
from headrace.pipelines.dynamic.arguments import announced_uri
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.runs.local_root import work_of

if TYPE_CHECKING:
    from headrace.components.announce.announce import Announced


def tick(settings: DynamicSettings, now: datetime, *, runs: Runs | None = None) -> Pumped:
    """Pumps the ledger with the runs of the platform; every trigger and every schedule calls it, as often as it likes.

    Before, it announces a promotion or a rollback that a destination did not hear of, by whomever it was made. Of a
    canary that a run left under way, it takes one step.

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

    def step(run: Run) -> Watched:
        from headrace.pipelines.dynamic.canary import take_step

        watched = take_step(settings, run)
        if watched.outcome is not None:
            announce_again(settings)
        return watched

    chosen = runs or runs_of(settings)
    announce_again(settings)
    name = settings.name.replace("_", "-").lower()
    reason = functools.partial(_why_failed, settings)
    return pump(settings.ledger, chosen, now, name=name, retries=settings.retries, step=step, why=reason)


def _why_failed(settings: DynamicSettings, run: Run) -> str:
    """The error in the summary that a failed run's exit task wrote, and its place; where to look without one."""
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


def announce_again(settings: DynamicSettings) -> Announced | None:
    """Sends the registry's champion to every destination that did not accept it before; None without destinations.

    What fails is left for the next tick, so that no destination keeps a run from starting.
    """
    if not settings.announce:
        return None
    from headrace.components.announce.announce import announce
    from headrace.components.registry.open import open_registry

    try:
        registry = open_registry(settings.registry, new=True)
        digest = settings.digests["problem_digest"]
        return announce(registry, settings.name, settings.announce, announced_uri(settings), problem=digest)
    except Terminated:
        raise
    except HeadraceError:
        return None
