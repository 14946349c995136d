"""What a task on Vertex AI failed with, where the service says that it is the caller's fault: a retry mends nothing.

A task of google-cloud-pipeline-components ends with 1 whatever its job failed with, so that its status says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from headrace.core.errors import UserError
from headrace.pipelines.submission.run import Task
from headrace.pipelines.submission.vertex.errors import Account, meaning
from headrace.pipelines.submission.vertex.messages import resources

# By number and by name, as google.rpc.Code has them.
_CALLERS = {3: api.InvalidArgument, 5: api.NotFound, 7: api.PermissionDenied, 9: api.FailedPrecondition}
_BY_NAME = {
    "INVALID_ARGUMENT": api.InvalidArgument,
    "NOT_FOUND": api.NotFound,
    "PERMISSION_DENIED": api.PermissionDenied,
    "FAILED_PRECONDITION": api.FailedPrecondition,
}
# In the service's own words of a task, and in the last words of a launcher whose request was refused.
_TOLD = re.compile(rf"\bcode=({'|'.join(_BY_NAME)}), message=(.+?)(?:, cause=|$)", re.DOTALL)
_RAISED = re.compile(
    r"(?<![\w./])((?:\w+\.)+_?[A-Z]\w*|[A-Z]\w*(?:Error|Exception|Exit|Interrupt))(?:: (?:\d{3} )?(.*)|$)", re.MULTILINE
)
_CLIENT = "google.api_core.exceptions."
# With the same codes the service tells of a process, which has told itself whose fault it was, of quotas, which others
# use up too, and of a pipeline within the task.
_NOBODYS = re.compile(
    r"exit(?:ed with)? (?:a )?(?:non-zero )?(?:exit )?(?:status|code)"
    r"|The following quotas? (?:are exceeded|metrics exceed)|The DAG failed because"
)

_NAME = re.compile(r".*/v1/(projects/.+)")
_SEARCH = "/hyperparameterTuningJobs/"
_LAUNCHERS = 1
# The client's methods by the kinds of jobs that tasks give away.
_ASK = {
    "customJobs": "get_custom_job",
    "batchPredictionJobs": "get_batch_prediction_job",
    "hyperparameterTuningJobs": "get_hyperparameter_tuning_job",
}


def refusal(task: Task, account: Account, jobs: Callable[[], Any]) -> dict[str, Any] | None:
    """The error of a task that failed, as `HeadraceError.to_json`; None where it is not the caller's fault.

    Args:
        task: that failed.
        account: that the run works as.
        jobs: gives the client that is asked for the jobs that the task gave away.
    """
    if task.exit_status not in (None, _LAUNCHERS):
        # A process of ours, whose status says whose fault it was.
        return None
    error = _of_message(task.message)
    for job in resources(task.outputs.get("gcp_resources")):
        named = _NAME.match(job["resourceUri"])
        told = _error_of(jobs, named[1]) if error is None and named else None
        error = _of_job(job["resourceUri"], *told) if told is not None else error
    meant = None if error is None else meaning(error, account, task.name)
    return meant.to_json() if isinstance(meant, UserError) else None


def _of_message(message: str) -> Exception | None:
    if found := _TOLD.search(message):
        told = _NOBODYS.search(found[2])
        return None if told else _BY_NAME[found[1]](found[2].strip())  # type: ignore[no-untyped-call]
    raised = _RAISED.findall(message)
    if not raised:
        return None
    # The last one is what ended the process, whatever kind it is of: what came before was tried again, or handled.
    name, said = raised[-1]
    kind: Any = getattr(api, name.removeprefix(_CLIENT), None) if name.startswith(_CLIENT) else None
    refused = isinstance(kind, type) and issubclass(kind, (api.BadRequest, api.Forbidden, api.NotFound))
    return kind(said) if refused else None


def _error_of(jobs: Callable[[], Any], name: str) -> tuple[int, str] | None:
    """A number of google.rpc.Code, and what is said; None where a job has no error, or it is not to be had."""
    ask = _ASK.get(name.split("/")[-2])
    try:
        job = getattr(jobs(), ask)(name=name, timeout=60.0, retry=None) if ask else None
    except (api.GoogleAPIError, auth.GoogleAuthError, OSError):
        # That the run has failed is known; this would only have said more of it.
        return None
    return (job.error.code, job.error.message) if job is not None and job.error.code else None


def _of_job(address: str, code: int, said: str) -> Exception | None:
    kind = _CALLERS.get(code)
    # The trials of a search, too, are processes that have told it themselves.
    told = _NOBODYS.search(said) or (_SEARCH in address and kind is api.FailedPrecondition)
    return None if kind is None or told else kind(said)  # type: ignore[no-untyped-call]
