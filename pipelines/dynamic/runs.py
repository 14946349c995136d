"""Runs of dynamic training on the platform of the settings."""

from __future__ import annotations

from headrace.core.ledger.pump import PlatformRuns
from headrace.pipelines.dynamic.settings import DynamicSettings


def runs_of(settings: DynamicSettings) -> PlatformRuns:
    """The runs of the settings' platform. On this machine, each is a process that outlives its starter.

    Raises:
        UsageError: the runs are on another machine.
        DataError: the mark of the machine is damaged.
    """
    if settings.platform == "local":
        from headrace.pipelines.dynamic.local_runs import DetachedRuns
        from headrace.pipelines.dynamic.machine import check_machine

        check_machine(settings)
        return DetachedRuns(settings)
    from headrace.pipelines.dynamic.submitted_runs import SubmittedRuns

    return SubmittedRuns(settings)
