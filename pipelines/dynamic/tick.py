"""Tick of dynamic training: starts the run that is due, finds out what became of another, or takes a canary's step."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from headrace.core.errors import HeadraceError
from headrace.core.ledger.pump import Pumped, Runs, Watched, pump
from headrace.core.ledger.state import Run
from headrace.core.signals import Terminated
from headrace.pipelines.dynamic.arguments import announced_uri
from headrace.pipelines.dynamic.settings import DynamicSettings

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
    return pump(settings.ledger, chosen, now, name=name, retries=settings.retries, step=step)


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
