"""Repeated tasks: a retry of a task that ended by a mistake, or was rejected by the gate, ends at once in the same way.

No retry policy of Vertex AI or Kubeflow has a condition on the exit status, so a task that starts again decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import GateRefused, HeadraceError, UserError

# ROOT/PROJECT_NUMBER/PIPELINE_JOB/TASK_NUMBER/OUTPUT, where Vertex AI stores an output of a task.
_VERTEX = re.compile(r"(gs://[^/]+/(?:.+/)?\d+/[a-z][-a-z0-9]*)/[^/]+_-?\d+/[^/]+/?\Z")


def job_of(output: str) -> str:
    """The folder of a pipeline job of Vertex AI, which no other job has; "" for outputs of other engines.

    Args:
        output: URI of an output artifact of a task.
    """
    found = _VERTEX.match(output)
    return found[1] if found else ""


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
