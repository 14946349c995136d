"""What a run came to: done, the user's mistake, refused by the gate, or the platform's failure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UserError
from headrace.core.steps.workspace import summary_uri
from headrace.pipelines.submission.run import Run, Task
from headrace.pipelines.submission.tasks import gated, leaves

# What the gate says is the output of this task, on which the condition around registering and deploying stands.
_GATE, _SAID = "evaluate", "Output"


def read_summary(run: Run) -> dict[str, Any] | None:
    """The summary that the run's exit task wrote, or None where there is none, or none that can be read from here."""
    root, run_id, started = (run.parameters.get(name) for name in ("root", "run_id", "started"))
    if not root or not run_id:
        return None
    try:
        uri = summary_uri(str(root), str(run_id))
        summary: dict[str, Any] | None = storage.read_json(uri) if storage.exists(uri) else None
    except HeadraceError:
        # The root may be a cluster's own, or this account may not read it: the platform's word then stands alone.
        return None
    # Another attempt at the same run writes to the same place, and so did the run before of the same schedule, whose
    # parameters are the same.
    if summary is None or summary.get("started") != started or summary.get("finished", math.inf) < (run.created or 0.0):
        return None
    return summary


def raise_for(run: Run, summary: Mapping[str, Any] | None, *, logs: str) -> None:
    """Raises what a run that ended came to; returns where all is done.

    Args:
        run: that ended.
        summary: what `read_summary` gave.
        logs: the command that shows its logs.

    Raises:
        GateRefused: the gate refused the model.
        UserError: a task ended with the status of a user's mistake, or the platform says that it refused the task.
        PlatformError: anything else, or the run was cancelled.
    """
    if run.state == "cancelled":
        raise PlatformError(
            "the run was cancelled",
            where=run.run_id,
            received=", ".join(f"{task.name} {task.state}" for task in run.tasks.values()) or None,
            fix="Submit it again: finished tasks are taken from the cache",
        )
    if summary is not None:
        # A summary knows of a job that failed only that nothing came of it.
        if (summary["error"] or {}).get("exit_status") == PlatformError.exit_status:
            _raise_refusal(run, logs)
        raise_for_summary(summary, fix=f"The logs: {logs}")
    if run.state == "succeeded":
        if summary is None and refused_by_gate(run):
            raise GateRefused(
                "the gate refused the model, and nothing was deployed", where=run.run_id, fix=f"Why: {logs}"
            )
        return
    _raise_failure(run, logs)


def raise_for_summary(summary: Mapping[str, Any], *, fix: str) -> None:
    """Raises what a summary says, unless it says that the run succeeded.

    Args:
        summary: of a run.
        fix: said of a platform's failure that has no advice of its own.
    """
    if summary["status"] == "failed":
        error = HeadraceError.from_json(summary["error"])
        if error.exit_status == PlatformError.exit_status and error.fix is None:
            error.fix = fix
        raise error
    if summary["status"] == "refused":
        evaluated = next(step["result"] for step in summary["steps"] if step["step"] == _GATE)
        failed = [check for check in evaluated["checks"] if check["passed"] is False]
        raise GateRefused(
            f"the gate refused the model, and nothing was deployed ({len(failed)} of {len(evaluated['checks'])} checks"
            " failed)",
            where=summary["problem"],
        )


def refused_by_gate(run: Run) -> bool:
    """Whether a run that succeeded left out what the gate's condition is around."""
    evaluated = run.tasks.get(_GATE)
    if evaluated is not None and _SAID in evaluated.outputs:
        return evaluated.outputs[_SAID] is False
    behind = gated(run.spec, f"pipelinechannel--{_GATE}-{_SAID}")
    states = [run.tasks[name].state for name in behind if name in run.tasks]
    return bool(behind) and all(state in ("skipped", "waiting") for state in states)


def _first_failure(run: Run) -> Task | None:
    failed = [run.tasks[name] for name in leaves(run.spec) if name in run.tasks and run.tasks[name].state == "failed"]
    return min(failed, key=lambda task: task.finished or float("inf"), default=None)


def _raise_refusal(run: Run, logs: str) -> None:
    """Raises what the platform refused of the task that failed first; returns where it is not the caller's fault."""
    first = _first_failure(run)
    if first is not None and first.refusal is not None:
        error = HeadraceError.from_json(first.refusal)
        error.fix = error.fix or f"Its log: {logs} --task {first.name}"
        raise error


def _raise_failure(run: Run, logs: str) -> None:
    _raise_refusal(run, logs)
    first = _first_failure(run)
    if first is None:
        raise PlatformError("the run failed", where=run.run_id, received=run.message or None, fix=f"The logs: {logs}")
    kind = UserError if first.exit_status == UserError.exit_status else PlatformError
    raise kind(
        f"{first.name} failed",
        where=run.run_id,
        received=first.message or run.message or None,
        fix=f"Its log: {logs} --task {first.name}",
    )
