"""Following a run: its tasks' progress as events, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy, retry
from headrace.pipelines.submission.run import Run, Service, Task
from headrace.pipelines.submission.tasks import leaves

# Called with each event of a task, as `platforms.local.Listener` is.
Listener = Callable[[dict[str, Any]], None]

_OVER = {"succeeded": "finished", "failed": "failed", "cancelled": "failed", "cached": "cached"}


def find(service: Service, run_id: str, policy: RetryPolicy) -> Run:
    """A run, with its tasks.

    Raises:
        UsageError: there is none of that name.
    """
    found = retry(lambda: service.find(run_id), policy)
    if found is None:
        raise UsageError(
            f"there is no such run on {service.name}", where=run_id, fix="`headrace status` without a run lists them"
        )
    return found


def follow(service: Service, run: Run, listener: Listener, *, poll_s: float, policy: RetryPolicy) -> Run:
    """Tells a listener of each task, until the run has ended.

    Args:
        service: where it runs.
        run: that was submitted.
        listener: hears started, finished, cached and failed of each task.
        poll_s: seconds between two looks.
        patience: with a platform that does not answer. The run itself does not end when this does.

    Returns:
        The run as it ended.
    """
    told: dict[str, str] = {}
    while True:
        for name in leaves(run.spec):
            if name in run.tasks:
                _tell(run.tasks[name], told, listener)
        if run.ended:
            return run
        time.sleep(poll_s)
        run = find(service, run.reference, policy)


def _tell(task: Task, told: dict[str, str], listener: Listener) -> None:
    before = told.get(task.name)
    if task.state == before or task.state in ("waiting", "skipped"):
        return
    told[task.name] = task.state
    if before is None and task.state != "cached":
        listener({"event": "started", "step": task.name, "message": f"{task.name} started"})
    if task.state in _OVER:
        # The platform knows how long it took; what came of it, the run's summary tells at the end.
        record = {"step": task.name, "status": task.state, "seconds": task.seconds, "result": {}}
        listener({"event": _OVER[task.state], "step": task.name, "message": task.message, "record": record})
