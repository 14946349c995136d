"""Records of a run's steps, as its summary has them: of this run, or a result that the engine reused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import PlatformError
from headrace.core.steps.identity import code_changed
from headrace.core.steps.step import is_of_run, read_record


def step_of(
    root: str, name: str, identity: str, started: float, *, reusable: bool, reached: bool = True, job: str = ""
) -> dict[str, Any]:
    """A step's record: `skipped` and empty for one that did not run, `cached` for one that was a cache hit.

    Args:
        root: pipeline root, where the run's records are stored.
        name: of the step.
        identity: of the step; "" if it is not known.
        started: start of the run, in seconds since 1970.
        reusable: whether the engine repeats the step only if an input changed. An earlier record of another step is of
            a failure that this run has fixed or not met, or of an effect that each run has itself.
        reached: whether the run reached the step; it is skipped otherwise.
        job: the engine's own name of the run; "" if it is not known.
    """
    record = read_record(root, name, identity) if reached and identity else None
    if record is not None and not is_of_run(record, started, job):
        record = {**record, "status": "cached"} if reusable and record["status"] == "succeeded" else None
    return record or {
        "step": name,
        "identity": identity,
        "status": "skipped",
        "outputs": {},
        "result": {},
        "error": None,
    }


def is_done(step: Mapping[str, Any]) -> bool:
    """Whether a step succeeded, in this run or in an earlier one."""
    return step["status"] in ("succeeded", "cached")


def unfinished(step: str, *, fix: str) -> PlatformError:
    """The error of a run that ended at a step, or "the pipeline", which wrote no record."""
    if code_changed():
        return PlatformError(
            "the code of headrace changed while the run was under way",
            where="core or components of headrace",
            expected="the same code in all steps",
            received="another digest of the source than at the start",
            fix=fix,
        )
    return PlatformError(f"{step} exited without an error message: it was killed, or ran out of memory", fix=fix)
