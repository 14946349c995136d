"""Run logs on Vertex AI: entries of Cloud Logging for the run and its tasks' jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core import exceptions as api
from google.auth.transport.requests import AuthorizedSession

from headrace.pipelines.submission.run import LogLine

_PAGE = 1000
_TIMEOUT_S = 60.0


def session(credentials: Any) -> AuthorizedSession:
    """Creates an authorized HTTP session."""
    return AuthorizedSession(credentials, max_refresh_attempts=2)  # type: ignore[no-untyped-call]


def read(
    session: AuthorizedSession, base: str, project: str, run_id: str, jobs: Mapping[str, str], after: str
) -> Iterator[LogLine]:
    """Reads the lines, oldest first.

    Args:
        session: to the service.
        base: URL of the service.
        project: of the log.
        run_id: of the pipeline's own events; "" for none of them.
        jobs: names of tasks by ids of their jobs.
        after: time in RFC 3339, exclusive; "" for all lines.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: the service rejected the request.
    """
    if not run_id and not jobs:
        return
    request: dict[str, Any] = {
        "resourceNames": [f"projects/{project}"],
        "filter": _filter(run_id, jobs, after),
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    while True:
        answer = session.post(f"{base}/v2/entries:list", json=request, timeout=_TIMEOUT_S)
        if answer.status_code != 200:
            raise api.from_http_response(answer)  # type: ignore[no-untyped-call]
        page = answer.json()
        for entry in page.get("entries", []):
            yield _line(entry, jobs)
        if not page.get("nextPageToken"):
            return
        request["pageToken"] = page["nextPageToken"]


def _filter(run_id: str, jobs: Mapping[str, str], after: str) -> str:
    places = []
    if run_id:
        places.append(
            f'(resource.type="aiplatform.googleapis.com/PipelineJob" AND resource.labels.pipeline_job_id="{run_id}")'
        )
    if jobs:
        # Custom jobs and Dataflow jobs have the id in the same label.
        among = " OR ".join(f'"{job}"' for job in jobs)
        places.append(f'(resource.type=("ml_job" OR "dataflow_step") AND resource.labels.job_id=({among}))')
    return f"({' OR '.join(places)})" + (f' AND timestamp>"{after}"' if after else "")


def _line(entry: Mapping[str, Any], jobs: Mapping[str, str]) -> LogLine:
    fields = entry.get("jsonPayload") or {}
    text = entry.get("textPayload") or fields.get("message") or ""
    job = entry.get("resource", {}).get("labels", {}).get("job_id", "")
    step = (fields.get("headrace") or {}).get("step", "")
    return LogLine(
        when=entry.get("timestamp", ""),
        task=jobs.get(job) or step or fields.get("taskName", ""),
        severity=entry.get("severity", "DEFAULT"),
        text=str(text).rstrip("\n"),
    )
