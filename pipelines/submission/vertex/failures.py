"""Task failures on Vertex AI that are the user's errors, which a retry cannot fix.

A task of google-cloud-pipeline-components exits with 1 whatever the failure of its job, so its status has no meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from headrace.core.errors import UserError
from headrace.pipelines.submission.run import RunTask
from headrace.pipelines.submission.vertex.errors import Account, meaning
from headrace.pipelines.submission.vertex.messages import resources

# Codes of google.rpc.Code, by number and by name.
_CALLERS = {3: api.InvalidArgument, 5: api.NotFound, 7: api.PermissionDenied, 9: api.FailedPrecondition}
_BY_NAME = {
    "INVALID_ARGUMENT": api.InvalidArgument,
    "NOT_FOUND": api.NotFound,
    "PERMISSION_DENIED": api.PermissionDenied,
    "FAILED_PRECONDITION": api.FailedPrecondition,
}
# Patterns of the service's message of a task, and of the last line of a launcher whose request was rejected.
_TOLD = re.compile(rf"\bcode=({'|'.join(_BY_NAME)}), message=(.+?)(?:, cause=|$)", re.DOTALL)
_RAISED = re.compile(
    r"(?<![\w./])((?:\w+\.)+_?[A-Z]\w*|[A-Z]\w*(?:Error|Exception|Exit|Interrupt))(?:: (?:\d{3} )?(.*)|$)", re.MULTILINE
)
_CLIENT = "google.api_core.exceptions."
# The service uses the same codes for a process, whose exit status shows whose error it was, for quotas, which others
# use up too, and for a pipeline within the task.
_NOBODYS = re.compile(
    r"exit(?:ed with)? (?:a )?(?:non-zero )?(?:exit )?(?:status|code)"
    r"|The following quotas? (?:are exceeded|metrics exceed)|The DAG failed because"
)

_NAME = re.compile(r".*/v1/(projects/.+)")
_SEARCH = "/hyperparameterTuningJobs/"
_LAUNCHERS = 1
# The client's methods by the kinds of jobs that tasks start.
_ASK = {
    "customJobs": "get_custom_job",
    "batchPredictionJobs": "get_batch_prediction_job",
    "hyperparameterTuningJobs": "get_hyperparameter_tuning_job",
}


def refusal(task: RunTask, account: Account, jobs: Callable[[], Any]) -> dict[str, Any] | None:
    """The error of a failed task, as `HeadraceError.to_json`; None if it is not the user's error.

    Args:
        task: that failed.
        account: of the run.
        jobs: returns the client for the jobs that the task started.
    """
    if task.exit_status not in (None, _LAUNCHERS):
        # A process of headrace, whose exit status shows whose error it was.
        return None
    error = _of_message(task.message)
    for job in resources(task.outputs.get("gcp_resources")):
        named = _NAME.match(job["resourceUri"])
        job_error = _error_of(jobs, named[1]) if error is None and named else None
        error = _of_job(job["resourceUri"], *job_error) if job_error is not None else error
    meant = None if error is None else meaning(error, account, task.name)
    return meant.to_json() if isinstance(meant, UserError) else None


def _of_message(message: str) -> Exception | None:
    if found := _TOLD.search(message):
        excluded = _NOBODYS.search(found[2])
        return None if excluded else _BY_NAME[found[1]](found[2].strip())  # type: ignore[no-untyped-call]
    raised = _RAISED.findall(message)
    if not raised:
        return None
    # The last error ended the process, of whatever kind it is: earlier ones were retried or handled.
    name, message_text = raised[-1]
    kind: Any = getattr(api, name.removeprefix(_CLIENT), None) if name.startswith(_CLIENT) else None
    refused = isinstance(kind, type) and issubclass(kind, (api.BadRequest, api.Forbidden, api.NotFound))
    return kind(message_text) if refused else None


def _error_of(jobs: Callable[[], Any], name: str) -> tuple[int, str] | None:
    """A code of google.rpc.Code and a message; None where a job has no error, or it cannot be read."""
    ask = _ASK.get(name.split("/")[-2])
    try:
        job = getattr(jobs(), ask)(name=name, timeout=60.0, retry=None) if ask else None
    except (api.GoogleAPIError, auth.GoogleAuthError, OSError):
        # The failure of the run is already known; this would only add details.
        return None
    return (job.error.code, job.error.message) if job is not None and job.error.code else None


def _of_job(address: str, code: int, message: str) -> Exception | None:
    kind = _CALLERS.get(code)
    # The trials of a search are also processes with an exit status.
    excluded = _NOBODYS.search(message) or (_SEARCH in address and kind is api.FailedPrecondition)
    return None if kind is None or excluded else kind(message)  # type: ignore[no-untyped-call]
