"""Runs of dynamic training on the platform of the settings."""

from __future__ import annotations

from headrace.core.ledger.pump import PlatformRuns
from headrace.pipelines.dynamic.settings import DynamicSettings


def runs_of(settings: DynamicSettings) -> PlatformRuns:
    """The runs of a platform: on this machine, each in a process of its own that outlives its starter.

    Raises:
        UsageError: they are on another machine.
    """
    if settings.platform == "local":
        from headrace.pipelines.dynamic.local_runs import DetachedRuns
        from headrace.pipelines.dynamic.machine import check_machine

        check_machine(settings)
        return DetachedRuns(settings)
    from headrace.pipelines.dynamic.submitted_runs import SubmittedRuns

    return SubmittedRuns(settings)
