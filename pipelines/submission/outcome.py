"""Run outcome: success, an error of the user, a refusal by the gate, or a failure of the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UserError
from headrace.core.steps.workspace import summary_uri
from headrace.pipelines.submission.run import PlatformRun, RunTask
from headrace.pipelines.submission.tasks import gated, leaves

# The gate's decision is an output of this task, which the condition around register and deploy reads.
GATE, _SAID = "evaluate", "Output"
# Reasons in the paragraph of a rejection; the evaluation has them all.
_REASONS_SHOWN = 8


def read_summary(run: PlatformRun) -> dict[str, Any] | None:
    """Reads the summary of the run's exit task; None if it does not exist, is of no known run, or cannot be read."""
    root, run_id = (run.parameters.get(name) for name in ("root", "run_id"))
    if not root or not run_id:
        return None
    try:
        uri = summary_uri(str(root), str(run_id))
        summary: dict[str, Any] | None = storage.read_json(uri) if storage.exists(uri) else None
    except HeadraceError:
        # The root may be local to a cluster, or access denied: then only the platform's status is known.
        return None
    # Other attempts of the same run, and other runs of the same schedule, write to the same path, as their parameters
    # are equal.
    return summary if summary is not None and _is_of(run, summary) else None


def _is_of(run: PlatformRun, summary: Mapping[str, Any]) -> bool:
    """Whether a run wrote a summary, by the engine's own name of the run in both; False where the summary has none.

    Vertex AI gives the exit task the name of the pipeline job. Kubeflow gives it that of the workflow, which its API
    does not report, so there it is the id of the run. No time decides: clocks of machines differ.
    """
    _, vertex, name = run.reference.rpartition("/pipelineJobs/")
    if vertex:
        return str(summary.get("job")).rpartition("/")[2] == name
    return summary.get("execution") == run.reference


def raise_for(run: PlatformRun, summary: Mapping[str, Any] | None, *, logs: str) -> None:
    """Raises the error of an ended run; returns if it succeeded.

    Args:
        run: that has ended.
        summary: from `read_summary`.
        logs: command that shows its logs.

    Raises:
        GateRefused: the gate refused the model, or a task exited with that status, as for a version marked as bad.
        UserError: a task exited with the status of a user's error, or the platform rejected the task.
        PlatformError: anything else, or the run was cancelled.
    """
    if run.state == "cancelled":
        raise PlatformError(
            "the run was cancelled",
            where=run.run_id,
            received=", ".join(f"{task.name} {task.state}" for task in run.tasks.values()) or None,
            fix="Submit it again: finished tasks are cached",
        )
    if summary is not None:
        # A summary has no details about a failed job.
        if (summary["error"] or {}).get("exit_status") == PlatformError.exit_status:
            _raise_refusal(run, logs)
        raise_for_summary(summary, fix=f"The logs: {logs}")
    if run.state == "succeeded":
        if summary is None and refused_by_gate(run):
            result = run.tasks[GATE].result if GATE in run.tasks else {}
            error = _refusal(result, run.run_id)
            error.received, error.fix = "; ".join(_failed_reasons(result)) or None, f"Why: {logs}"
            raise error
        return
    _raise_failure(run, logs)


def raise_for_summary(summary: Mapping[str, Any], *, fix: str) -> None:
    """Raises the error in a summary, unless the run succeeded.

    Args:
        summary: of a run.
        fix: for a platform's failure without a fix of its own.
    """
    if summary["status"] == "failed":
        error = HeadraceError.from_json(summary["error"])
        if error.exit_status == PlatformError.exit_status and error.fix is None:
            error.fix = fix
        raise error
    if summary["status"] == "refused":
        evaluated = next(step["result"] for step in summary["steps"] if step["step"] == GATE)
        # The reasons are printed with the summary.
        raise _refusal(evaluated, summary["problem"])


def _refusal(result: Mapping[str, Any], where: str) -> GateRefused:
    """The error of a rejection by the gate, with the number of checks where the result of `evaluate` is known."""
    checks = result.get("checks") or ()
    failed = sum(check["passed"] is False for check in checks)
    count = f" ({failed} of {len(checks)} checks failed)" if checks else ""
    return GateRefused(f"the gate refused the model, and nothing was deployed{count}", where=where)


def _failed_reasons(result: Mapping[str, Any]) -> list[str]:
    """Sentences about the checks that failed, without their full stops."""
    pairs = zip(result.get("checks") or (), result.get("reasons") or (), strict=False)
    failed = [str(reason).rstrip(".") for check, reason in pairs if check["passed"] is False]
    more = [f"and {len(failed) - _REASONS_SHOWN} more"] if len(failed) > _REASONS_SHOWN else []
    return failed[:_REASONS_SHOWN] + more


def refused_by_gate(run: PlatformRun) -> bool:
    """Whether a successful run skipped the tasks within the gate's condition."""
    evaluated = run.tasks.get(GATE)
    if evaluated is not None and _SAID in evaluated.outputs:
        return evaluated.outputs[_SAID] is False
    behind = gated(run.spec, f"pipelinechannel--{GATE}-{_SAID}")
    states = [run.tasks[name].state for name in behind if name in run.tasks]
    return bool(behind) and all(state in ("skipped", "waiting") for state in states)


def _first_failure(run: PlatformRun) -> RunTask | None:
    failed = [run.tasks[name] for name in leaves(run.spec) if name in run.tasks and run.tasks[name].state == "failed"]
    return min(failed, key=lambda task: task.finished or float("inf"), default=None)


def _raise_refusal(run: PlatformRun, logs: str) -> None:
    """Raises the platform's rejection of the task that failed first; returns if it is not the user's error."""
    first = _first_failure(run)
    if first is not None and first.refusal is not None:
        error = HeadraceError.from_json(first.refusal)
        error.fix = error.fix or f"Its log: {logs} --task {first.name}"
        raise error


def _raise_failure(run: PlatformRun, logs: str) -> None:
    _raise_refusal(run, logs)
    first = _first_failure(run)
    if first is None:
        raise PlatformError("the run failed", where=run.run_id, received=run.message or None, fix=f"The logs: {logs}")
    kinds: tuple[type[HeadraceError], ...] = (UserError, GateRefused)
    kind = next((each for each in kinds if each.exit_status == first.exit_status), PlatformError)
    raise kind(
        f"{first.name} failed",
        where=run.run_id,
        received=first.message or run.message or None,
        fix=f"Its log: {logs} --task {first.name}",
    )
