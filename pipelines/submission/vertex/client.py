"""Vertex AI Pipelines client: runs and schedules, by the service's own client library."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as vertex

from headrace.core.errors import UsageError
from headrace.core.retry import Transient
from headrace.pipelines.submission.run import LogLine, PlatformRun, Schedule, Submission
from headrace.pipelines.submission.vertex import failures
from headrace.pipelines.submission.vertex import logs as vertex_logs
from headrace.pipelines.submission.vertex.errors import Account, explained
from headrace.pipelines.submission.vertex.messages import run_of, schedule_of

# Label by which headrace's runs are found among others.
_LABEL = "headrace-pipeline"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_RUN_ID = re.compile(r"[a-z][-a-z0-9]{0,127}\Z")


class VertexService:
    """Vertex AI Pipelines in one project and region.

    Args:
        project: its id.
        location: a region.
        api_endpoint: another URL of the service; one that starts with http:// is a server for tests, which needs no
            credentials.
        network, encryption_key: of the runs, as of VertexOptions.

    Raises:
        UsageError: no credentials were found.
    """

    name = "vertex"

    def __init__(
        self,
        project: str,
        location: str,
        *,
        api_endpoint: str = "",
        network: str = "",
        encryption_key: str = "",
        service_account: str = "",
    ) -> None:
        self._parent = f"projects/{project}/locations/{location}"
        self._project, self._location = project, location
        self._endpoint = api_endpoint or f"https://{location}-aiplatform.googleapis.com"
        self._network, self._encryption_key = network, encryption_key
        self._service_account = service_account

    def run_id(self, text: str) -> str:
        """Returns the text if it is a valid name.

        Raises:
            UsageError: the service does not accept the name.
        """
        if not _RUN_ID.match(text):
            raise UsageError(
                "the run name is not valid on Vertex AI",
                where=text,
                expected="1 to 128 of a-z, 0-9 and -, starting with a letter",
            )
        return text

    def find(self, run_id: str) -> PlatformRun | None:
        """Finds a run by its id or its resource name."""
        name = run_id if "/" in run_id else f"{self._parent}/pipelineJobs/{self.run_id(run_id)}"
        try:
            with self._asking(name):
                run = self._as_run(self._pipelines.get_pipeline_job(name=name, timeout=60.0, retry=None))
        except api.NotFound:
            return None
        return self._with_refusals(run) if run.state == "failed" else run

    def create(self, run_id: str, submission: Submission) -> PlatformRun:
        """Starts a run; names of runs are unique in the service."""
        try:
            with self._asking(run_id):
                job = self._pipelines.create_pipeline_job(
                    parent=self._parent,
                    pipeline_job=self._job(run_id, submission),
                    pipeline_job_id=run_id,
                    timeout=60.0,
                    retry=None,
                )
                return self._as_run(job)
        except api.Conflict as error:
            # The same run was submitted in the meantime, or the response to the first request was lost.
            found = self.find(run_id)
            if found is None:
                raise Transient("the run exists but cannot be found", where=run_id, received=str(error)) from error
            return found
        except api.NotFound as error:
            raise self._missing(run_id, error) from error

    def runs(self, limit: int) -> list[PlatformRun]:
        """Lists the newest runs that headrace submitted."""
        with self._asking(self._parent):
            request = {
                "parent": self._parent,
                "filter": f"labels.{_LABEL}:*",
                "order_by": "create_time desc",
                "page_size": min(limit, 100),
            }
            found: list[PlatformRun] = []
            for job in self._pipelines.list_pipeline_jobs(request=request, timeout=60.0, retry=None):
                found.append(self._as_run(job))
                if len(found) == limit:
                    break
            return found

    def cancel(self, run: PlatformRun) -> None:
        """Requests the cancellation of a run and its jobs."""
        with self._asking(run.run_id):
            self._pipelines.cancel_pipeline_job(name=run.reference, timeout=60.0, retry=None)

    def logs(self, run: PlatformRun, task: str, after: str) -> Iterator[LogLine]:
        """Reads the logs of the run's jobs from Cloud Logging."""
        base = self._endpoint if self._for_tests else "https://logging.googleapis.com"
        jobs = {job: one.name for one in run.tasks.values() for job in one.jobs if task in ("", one.name)}
        with self._asking(f"the log of {run.run_id}"):
            session = vertex_logs.session(self._credentials)
            try:
                yield from vertex_logs.read(session, base, self._project, "" if task else run.run_id, jobs, after)
            finally:
                session.close()  # type: ignore[no-untyped-call]

    def schedules(self) -> list[Schedule]:
        """Lists all schedules of pipelines."""
        with self._asking(self._parent):
            found = self._schedules.list_schedules(request={"parent": self._parent}, timeout=60.0, retry=None)
            return [schedule_of(one) for one in found if "create_pipeline_job_request" in one]

    def schedule(self, name: str, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Creates a schedule, whose runs do not overlap."""
        with self._asking(name):
            made = self._schedules.create_schedule(
                parent=self._parent,
                schedule=self._scheduled(name, cron, timezone, submission),
                timeout=60.0,
                retry=None,
            )
            return schedule_of(made)

    def change(self, schedule: Schedule, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Updates a schedule; its history is kept."""
        wanted = self._scheduled(schedule.name, cron, timezone, submission)
        wanted.name = schedule.reference
        with self._asking(schedule.name):
            return schedule_of(
                self._schedules.update_schedule(
                    schedule=wanted,
                    update_mask={"paths": ["cron", "create_pipeline_job_request"]},
                    timeout=60.0,
                    retry=None,
                )
            )

    def set_paused(self, schedule: Schedule, paused: bool) -> None:
        """Pauses or resumes a schedule; missed runs are not caught up."""
        with self._asking(schedule.name):
            if paused:
                self._schedules.pause_schedule(name=schedule.reference, timeout=60.0, retry=None)
            else:
                self._schedules.resume_schedule(name=schedule.reference, timeout=60.0, retry=None)

    def delete_schedule(self, schedule: Schedule) -> None:
        """Deletes a schedule, and waits until it is gone."""
        with self._asking(schedule.name):
            self._schedules.delete_schedule(name=schedule.reference, timeout=60.0, retry=None).result(timeout=300)

    def close(self) -> None:
        """Closes the connections."""
        for name in ("_pipelines", "_schedules", "_jobs"):
            if name in self.__dict__:
                self.__dict__.pop(name).transport.close()

    @property
    def _for_tests(self) -> bool:
        return self._endpoint.startswith("http://")

    @cached_property
    def _credentials(self) -> Any:
        if self._for_tests:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        import google.auth

        # The account is not known before there are credentials, so their errors do not name it.
        with explained(Account(self._project, self._location, "user:ACCOUNT"), "Google Cloud"):
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        return credentials

    @cached_property
    def _pipelines(self) -> Any:
        return vertex.PipelineServiceClient(
            transport="rest", credentials=self._credentials, client_options={"api_endpoint": self._endpoint}
        )

    @cached_property
    def _jobs(self) -> Any:
        return vertex.JobServiceClient(
            transport="rest", credentials=self._credentials, client_options={"api_endpoint": self._endpoint}
        )

    @cached_property
    def _schedules(self) -> Any:
        return vertex.ScheduleServiceClient(
            transport="rest", credentials=self._credentials, client_options={"api_endpoint": self._endpoint}
        )

    def _with_refusals(self, run: PlatformRun) -> PlatformRun:
        """Adds the rejections of its tasks to a failed run."""
        # Its jobs use the run's own account, not the account of this command.
        asks = f"serviceAccount:{self._service_account or 'PROJECT_NUMBER-compute@developer.gserviceaccount.com'}"
        account = Account(self._project, self._location, asks, self._service_account)
        found = {
            name: dataclasses.replace(task, refusal=failures.refusal(task, account, lambda: self._jobs))
            for name, task in run.tasks.items()
            if task.state == "failed"
        }
        return dataclasses.replace(run, tasks={**run.tasks, **found})

    def _asking(self, what: str) -> AbstractContextManager[None]:
        email = getattr(self._credentials, "service_account_email", "")
        # Compute Engine's credentials are called "default" until they are first used.
        known = email and "@" in email
        member = f"serviceAccount:{email}" if known else 'user:"$(gcloud config get-value account)"'
        return explained(Account(self._project, self._location, member, self._service_account), what)

    def _missing(self, run_id: str, error: Exception) -> UsageError:
        return UsageError(
            "the project or something that the run names does not exist",
            where=run_id,
            received=str(error),
            fix="Check --project, --region, the service account and the network",
        )

    def _job(self, run_id: str, submission: Submission) -> Any:
        return vertex.PipelineJob.from_json(json.dumps(self._job_json(run_id, submission)))

    def _job_json(self, run_id: str, submission: Submission) -> dict[str, Any]:
        job: dict[str, Any] = {
            "displayName": run_id,
            "pipelineSpec": submission.documents[0],
            "labels": {**submission.labels, _LABEL: re.sub(r"[^a-z0-9_-]", "-", submission.name.lower())[:63]},
            "runtimeConfig": {
                "gcsOutputDirectory": submission.pipeline_root,
                "parameterValues": dict(submission.parameters),
            },
        }
        more = {
            "serviceAccount": submission.service_account or self._service_account,
            "network": self._network,
            "encryptionSpec": {"kmsKeyName": self._encryption_key} if self._encryption_key else None,
        }
        return {**job, **{name: value for name, value in more.items() if value}}

    def _scheduled(self, name: str, cron: str, timezone: str, submission: Submission) -> Any:
        job = {"parent": self._parent, "pipelineJob": self._job_json(name, submission)}
        scheduled = {
            "displayName": name,
            "cron": f"TZ={timezone} {cron}",
            # Two concurrent runs would interfere in register and deploy.
            "maxConcurrentRunCount": 1,
            "createPipelineJobRequest": job,
        }
        return vertex.Schedule.from_json(json.dumps(scheduled))

    def _as_run(self, job: Any) -> PlatformRun:
        return run_of(job, self._project, self._location)
