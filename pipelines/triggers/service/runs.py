"""Runs of a dynamic training, from its ledger, in the form that the service reports."""

from __future__ import annotations

from typing import Any

from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.settings import DynamicSettings

_SHOWN = 50


def run_of(run: LedgerRun | None) -> dict[str, Any] | None:
    """The run under way as JSON values: id, state, fence and data versions; None if there is none."""
    if run is None:
        return None
    state = "started" if run.holder is None else "running"
    return {"id": run.id, "state": state, "epoch": run.epoch, "attempt": run.attempt, "versions": list(run.versions)}


def overview(settings: DynamicSettings) -> dict[str, Any]:
    """The run under way, the waiting data versions, the last failure, and the last 50 runs that ended, newest first.

    Raises:
        DataError: the ledger is damaged.
        PlatformError: the disk or the service failed.
    """
    state = settings.ledger.state()
    under_way = () if state.run is None else state.run.versions
    arrived = settings.ledger.inbox.versions()
    waiting = [version for version in arrived if version not in state.done and version not in under_way]
    ended = [
        {
            "epoch": each.epoch,
            "state": each.outcome,
            "model": each.model,
            "why": each.why,
            "versions": list(each.versions),
        }
        for each in reversed(state.history[-_SHOWN:])
    ]
    failure = state.failure
    return {
        "name": settings.name,
        "run": run_of(state.run),
        "waiting": waiting,
        "failure": None if failure is None else {"reason": failure.reason, "next": failure.not_before},
        "ended": ended,
    }
