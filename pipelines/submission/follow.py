"""Run follower: reports the progress of a run's tasks as events, until the run has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy, retry
from headrace.pipelines.submission.run import PlatformRun, RunTask, Service
from headrace.pipelines.submission.tasks import leaves

# Called with each event of a task, as `platforms.local.Listener`.
Listener = Callable[[dict[str, Any]], None]

_OVER = {"succeeded": "finished", "failed": "failed", "cancelled": "failed", "cached": "cached"}


def find(service: Service, run_id: str, policy: RetryPolicy) -> PlatformRun:
    """Finds a run, with its tasks.

    Raises:
        UsageError: the run does not exist.
    """
    found = retry(lambda: service.find(run_id), policy)
    if found is None:
        raise UsageError(
            f"the run does not exist on {service.name}", where=run_id, fix="`headrace status` without a run lists them"
        )
    return found


def follow(
    service: Service, run: PlatformRun, listener: Listener, *, poll_s: float, policy: RetryPolicy
) -> PlatformRun:
    """Reports each task to a listener, until the run has ended.

    Args:
        service: of the run.
        run: that was submitted.
        listener: receives the events started, finished, cached and failed of each task.
        poll_s: seconds between two requests.
        policy: retry policy of requests. The run continues when it gives up.

    Returns:
        The ended run.
    """
    states: dict[str, str] = {}
    while True:
        for name in leaves(run.spec):
            if name in run.tasks:
                _tell(run.tasks[name], states, listener)
        if run.ended:
            return run
        time.sleep(poll_s)
        run = find(service, run.reference, policy)


def _tell(task: RunTask, states: dict[str, str], listener: Listener) -> None:
    before = states.get(task.name)
    if task.state == before or task.state in ("waiting", "skipped"):
        return
    states[task.name] = task.state
    if before is None and task.state != "cached":
        listener({"event": "started", "step": task.name, "message": f"{task.name} started"})
    if task.state in _OVER:
        # The platform reports the duration; results are in the run's summary at the end.
        record = {"step": task.name, "status": task.state, "seconds": task.seconds, "result": {}}
        listener({"event": _OVER[task.state], "step": task.name, "message": task.message, "record": record})
