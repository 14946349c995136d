"""Tick as a step of a pipeline."""

from __future__ import annotations

from headrace.components.tick.command import headrace
from headrace.core.steps import step as steps
from headrace.core.steps.step import running


def run(ledger: str, request: bool) -> None:
    """Runs the step; arguments as of `component.tick`.

    Raises:
        UsageError: the ledger or the settings are wrong, or the platform refused the run.
        PlatformError: the platform failed; the next tick tries again.
    """
    with running("tick", root="") as step:
        step.identity = steps.identity("tick", ledger=ledger)
        if request:
            step.progress(headrace("dynamic", "request", ledger), lasting=True)
        step.progress(headrace("tick", ledger), lasting=True)
        step.finish(outputs={}, result={})
