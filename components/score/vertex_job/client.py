"""Client of Vertex AI's batch prediction jobs, with retries and translated errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self, TypeVar

import requests.exceptions  # type: ignore[import-untyped]
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import JobServiceClient, ModelServiceClient
from google.cloud.aiplatform_v1.types import BatchPredictionJob, JobState, Model

from headrace.components.score.options import JOB_LABEL, JobOptions
from headrace.core.cloud import errors
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.progress import Progress
from headrace.core.retry import RetryPolicy, retry

_ROLE = "roles/aiplatform.user"
_POLICY = RetryPolicy(first_s=0.25, total_s=600.0, attempts=8)
_REQUEST_SECONDS = 60.0
_TRANSIENT = (api.TooManyRequests, api.ServerError, requests.exceptions.RequestException, auth.TransportError)
_RUNNING = (
    JobState.JOB_STATE_UNSPECIFIED,
    JobState.JOB_STATE_QUEUED,
    JobState.JOB_STATE_PENDING,
    JobState.JOB_STATE_RUNNING,
    JobState.JOB_STATE_UPDATING,
)
_SUCCEEDED = (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_PARTIALLY_SUCCEEDED)
# google.rpc.Code: errors of a job that a retry does not fix.
_INVALID = (3, 5, 6, 9, 11, 12)
_DENIED = (7, 16)
_EXHAUSTED = 8

Answer = TypeVar("Answer")


class Jobs:
    """Batch prediction jobs of a project in a region."""

    def __init__(self, options: JobOptions, sleep: Callable[[float], None] = time.sleep) -> None:
        """Opens the connection.

        Args:
            options: project, region and timeouts.
            sleep: waits for a number of seconds.

        Raises:
            UsageError: the credentials are missing.
        """
        self._options = options
        self._parent = f"projects/{options.project}/locations/{options.region}"
        self._sleep = sleep
        self._stack = ExitStack()
        how: dict[str, Any] = {
            "transport": "rest",
            "client_options": {"api_endpoint": options.api_endpoint or f"{options.region}-aiplatform.googleapis.com"},
        }
        if options.api_endpoint:
            how["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
        with errors.translate_errors("Vertex AI", self._parent, _ROLE):
            self._jobs = self._stack.enter_context(JobServiceClient(**how))
            self._models = self._stack.enter_context(ModelServiceClient(**how))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def model(self) -> Model:
        """The model of the options, with the current version of its name.

        Raises:
            UsageError: it does not exist, access is denied, or it does not accept JSON lines.
            PlatformError: the service failed.
        """
        name = self._options.model
        try:
            model = self._ask(name, lambda: self._models.get_model(name=name, timeout=_REQUEST_SECONDS))
        except api.NotFound as error:
            raise UsageError(
                "the model does not exist",
                where=name,
                expected=f"a model in the registry of {self._parent}",
                received=errors.message_of(error),
                fix="List the models: gcloud ai models list",
            ) from error
        formats = list(model.supported_input_storage_formats)
        if formats and "jsonl" not in formats:
            raise UsageError(
                "the model does not accept JSON lines in a batch prediction job",
                where=name,
                expected="jsonl",
                received=", ".join(formats),
            )
        return model

    def start(self, job: BatchPredictionJob, has_results: Callable[[str], bool]) -> tuple[BatchPredictionJob, bool]:
        """Starts a job, unless a job with the same label is running, or has succeeded and its results still exist.

        Args:
            job: the job to start.
            has_results: whether a folder holds the results of a job.

        Returns:
            The job, and whether it existed already.

        Raises:
            UsageError: the service refuses the job.
            PlatformError: the service failed, or the quota is exhausted.
        """

        def once() -> tuple[BatchPredictionJob, bool]:
            # A request whose response was lost may have started one.
            for there in self._labelled(job.labels[JOB_LABEL]):
                ended_well = there.state in _SUCCEEDED and has_results(there.output_info.gcs_output_directory)
                if there.state in _RUNNING or ended_well:
                    return there, True
            created = self._jobs.create_batch_prediction_job(
                parent=self._parent, batch_prediction_job=job, timeout=_REQUEST_SECONDS
            )
            return created, False

        try:
            return self._ask(self._parent, once)
        except api.NotFound as error:
            raise UsageError(
                "Vertex AI does not find a resource of the job", where=self._parent, received=errors.message_of(error)
            ) from error

    def wait(self, name: str, report: Progress) -> BatchPredictionJob:
        """Waits until a job has succeeded, and returns it.

        Raises:
            UsageError: it failed because of its input or of the permissions of its account.
            PlatformError: it failed for another reason, was cancelled, or exceeded the deadline of the options.
        """
        until = time.monotonic() + self._options.deadline_seconds
        state = None
        while True:
            try:
                job = self._ask(name, lambda: self._jobs.get_batch_prediction_job(name=name, timeout=_REQUEST_SECONDS))
            except api.NotFound as error:
                raise PlatformError("the job does not exist", where=name, received=errors.message_of(error)) from error
            if job.state in _SUCCEEDED:
                return job
            if job.state not in _RUNNING:
                raise failure(job)
            if job.state != state:
                state = job.state
                report(f"the job is {state.name.removeprefix('JOB_STATE_').lower()}: {name}")
            if self._options.deadline_seconds and time.monotonic() > until:
                raise PlatformError(
                    "the job did not finish before the deadline",
                    where=name,
                    expected=f"at most {self._options.deadline_seconds:g} seconds",
                    received=job.state.name,
                    fix="Run it again to continue waiting, or cancel the job",
                )
            self._sleep(self._options.poll_seconds)

    def cancel(self, digest: str) -> None:
        """Cancels the running jobs of a label; errors of the service are ignored."""
        with suppress(HeadraceError, api.NotFound):
            for job in self._ask(self._parent, lambda: self._labelled(digest)):
                if job.state in _RUNNING:
                    cancel = partial(self._jobs.cancel_batch_prediction_job, name=job.name, timeout=_REQUEST_SECONDS)
                    self._ask(job.name, cancel)

    def _labelled(self, digest: str) -> list[BatchPredictionJob]:
        """The jobs with a label, latest first."""
        query = {"parent": self._parent, "filter": f'labels.{JOB_LABEL}="{digest}"'}
        jobs = list(self._jobs.list_batch_prediction_jobs(request=query, timeout=_REQUEST_SECONDS))
        return sorted(jobs, key=lambda job: job.create_time, reverse=True)

    def _ask(self, where: str, call: Callable[[], Answer]) -> Answer:
        """The result of a call, with retries on failures of the service or the network.

        Raises:
            google.api_core.exceptions.NotFound: the resource does not exist.
            UsageError: access is denied, or the request is wrong.
            PlatformError: the service failed at each attempt.
        """
        with errors.translate_errors("Vertex AI", where, _ROLE):
            try:
                return retry(call, _POLICY, transient=_TRANSIENT, wait=self._sleep)
            except api.TooManyRequests as error:
                raise _quota(where, errors.message_of(error)) from error


def failure(job: BatchPredictionJob) -> HeadraceError:
    """The error of a failed job."""
    code, name = job.error.code, job.name
    messages = [job.error.message, *(partial.message for partial in job.partial_failures)]
    received = "; ".join(dict.fromkeys(text.strip().rstrip(".") for text in messages if text)) or job.state.name
    if job.state in (JobState.JOB_STATE_CANCELLING, JobState.JOB_STATE_CANCELLED):
        return PlatformError(
            "the job was cancelled", where=name, received=received, fix="Run it again to start another"
        )
    if code in _DENIED:
        return UsageError(
            "the job lacks permissions",
            where=name,
            received=received,
            fix="Grant its account the missing roles, or set another service_account of the job",
        )
    if code == _EXHAUSTED:
        return _quota(name, received)
    if code in _INVALID:
        return UsageError("the job failed because of its input", where=name, received=received)
    return PlatformError("the job failed", where=name, received=received)


def _quota(where: str, received: str) -> PlatformError:
    return PlatformError(
        "the quota of Vertex AI is exhausted",
        where=where,
        received=received,
        fix="Run it again later, use fewer replicas, or request more quota",
    )
