"""Repeated tasks: a retry of a task that ended by a mistake, or was rejected by the gate, ends at once in the same way.

No retry policy of Vertex AI or Kubeflow has a condition on the exit status, so a task that starts again decides.

A job of Vertex AI is never started again by hand. A run of Kubeflow can be: its finished tasks keep their outputs,
and a failed one is done anew with the outputs that it had, after somebody granted a role or moved a file. Only the
number of the attempt tells that from an automatic retry: it begins at 0 again. Kubeflow Pipelines gives it since
2.17.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import GateRefused, HeadraceError, UserError

# ROOT/PROJECT_NUMBER/PIPELINE_JOB/TASK_NUMBER/OUTPUT, where Vertex AI stores an output of a task.
_VERTEX = re.compile(r"(gs://[^/]+/(?:.+/)?\d+/[a-z][-a-z0-9]*)/[^/]+_-?\d+/[^/]+/?\Z")
# ROOT/PIPELINE/RUN/TASK/ATTEMPTS/OUTPUT, where Kubeflow stores an output of all attempts of a task, and its launcher
# mounts or copies it.
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KUBEFLOW = re.compile(rf"(.+/{_UUID}/[^/]+/{_UUID})/[^/]+/?\Z")
# Environment variable with the number of the attempt, from 0, set by Kubeflow for tasks that have retries.
ATTEMPT = "KFP_RETRY_INDEX"


def job_of(output: str, attempt: int | None = None) -> str:
    """The folder of a job within which a retry ends as the attempt before it; "" for outputs of other engines.

    That is a pipeline job of Vertex AI, or the attempts of one task of a run of Kubeflow.

    Args:
        output: URI or path of an output artifact of a task.
        attempt: number of the attempt, as of `attempt_of`.
    """
    found = _VERTEX.match(output) or (_KUBEFLOW.match(output) if attempt is not None else None)
    return found[1] if found else ""


def attempt_of(environment: Mapping[str, str]) -> int | None:
    """Number of this attempt of a task of Kubeflow, from 0; None where the engine does not give it."""
    text = environment.get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() else None


def error_of(record: Mapping[str, Any] | None, job: str) -> HeadraceError | None:
    """The error that a retry would end with again, or None.

    Another job with the same identity may succeed: in between, somebody granted a role or moved a file.

    Args:
        record: of the step, or None.
        job: of this task, as of `job_of`.
    """
    if record is None or not job or record.get("job") != job or record["status"] != "failed":
        return None
    error = HeadraceError.from_json(record["error"] or {})
    return error if error.exit_status in (UserError.exit_status, GateRefused.exit_status) else None
