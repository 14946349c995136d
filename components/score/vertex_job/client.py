"""The way to Vertex AI's batch prediction jobs: what is tried again, and what it says turned into our errors."""

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

_ROLE = "the role Vertex AI User"
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
# google.rpc.Code: what a job can end with that a second try ends with again.
_INVALID = (3, 5, 6, 9, 11, 12)
_DENIED = (7, 16)
_EXHAUSTED = 8

Answer = TypeVar("Answer")


class Jobs:
    """Batch prediction jobs of a project in a region."""

    def __init__(self, options: JobOptions, sleep: Callable[[float], None] = time.sleep) -> None:
        """Opens the connection.

        Args:
            options: where, and how long to wait.
            sleep: waits for so many seconds.

        Raises:
            UsageError: there are no credentials.
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
        """The model of the options, with the version that its name means now.

        Raises:
            UsageError: there is none, it may not be seen, or it cannot read JSON lines.
            PlatformError: the service failed.
        """
        name = self._options.model
        try:
            model = self._ask(name, lambda: self._models.get_model(name=name, timeout=_REQUEST_SECONDS))
        except api.NotFound as error:
            raise UsageError(
                "there is no such model",
                where=name,
                expected=f"a model in the registry of {self._parent}",
                received=errors.message_of(error),
                fix="List models by `gcloud ai models list`",
            ) from error
        formats = list(model.supported_input_storage_formats)
        if formats and "jsonl" not in formats:
            raise UsageError(
                "the model takes no JSON lines in a batch prediction job",
                where=name,
                expected="jsonl",
                received=", ".join(formats),
            )
        return model

    def start(self, job: BatchPredictionJob, has_results: Callable[[str], bool]) -> tuple[BatchPredictionJob, bool]:
        """Starts a job, unless one of the same label runs, or has ended well and its results are there.

        Args:
            job: what to start.
            has_results: whether a folder still holds the results of a job.

        Returns:
            The job, and whether it was found.

        Raises:
            UsageError: the service refuses it.
            PlatformError: the service failed, or the quota is used up.
        """

        def once() -> tuple[BatchPredictionJob, bool]:
            # A request whose answer was lost may have started one.
            for there in self._labelled(job.labels[JOB_LABEL]):
                ended_well = there.state in _SUCCEEDED and has_results(there.output_info.gcs_output_directory)
                if there.state in _RUNNING or ended_well:
                    return there, True
            made = self._jobs.create_batch_prediction_job(
                parent=self._parent, batch_prediction_job=job, timeout=_REQUEST_SECONDS
            )
            return made, False

        try:
            return self._ask(self._parent, once)
        except api.NotFound as error:
            raise UsageError(
                "Vertex AI does not find what the job needs", where=self._parent, received=errors.message_of(error)
            ) from error

    def wait(self, name: str, report: Progress) -> BatchPredictionJob:
        """A job that has ended well, once it has.

        Raises:
            UsageError: it failed for what it was given, or for what its account may not do.
            PlatformError: it failed otherwise, was cancelled, or takes longer than the options let it.
        """
        until = time.monotonic() + self._options.deadline_seconds
        state = None
        while True:
            try:
                job = self._ask(name, lambda: self._jobs.get_batch_prediction_job(name=name, timeout=_REQUEST_SECONDS))
            except api.NotFound as error:
                raise PlatformError("the job is gone", where=name, received=errors.message_of(error)) from error
            if job.state in _SUCCEEDED:
                return job
            if job.state not in _RUNNING:
                raise failure(job)
            if job.state != state:
                state = job.state
                report(f"the job is {state.name.removeprefix('JOB_STATE_').lower()}: {name}")
            if self._options.deadline_seconds and time.monotonic() > until:
                raise PlatformError(
                    "the job has not ended in time",
                    where=name,
                    expected=f"at most {self._options.deadline_seconds:g} seconds",
                    received=job.state.name,
                    fix="Run it again to go on waiting, or cancel the job",
                )
            self._sleep(self._options.poll_seconds)

    def cancel(self, digest: str) -> None:
        """Cancels the jobs of a label that run; what the service says to that is not worth a failure."""
        with suppress(HeadraceError, api.NotFound):
            for job in self._ask(self._parent, lambda: self._labelled(digest)):
                if job.state in _RUNNING:
                    cancel = partial(self._jobs.cancel_batch_prediction_job, name=job.name, timeout=_REQUEST_SECONDS)
                    self._ask(job.name, cancel)

    def _labelled(self, digest: str) -> list[BatchPredictionJob]:
        """The jobs of a label, the latest first."""
        asked = {"parent": self._parent, "filter": f'labels.{JOB_LABEL}="{digest}"'}
        found = list(self._jobs.list_batch_prediction_jobs(request=asked, timeout=_REQUEST_SECONDS))
        return sorted(found, key=lambda job: job.create_time, reverse=True)

    def _ask(self, where: str, call: Callable[[], Answer]) -> Answer:
        """What a call gives, which is tried again where the service or the network fails.

        Raises:
            google.api_core.exceptions.NotFound: there is no such thing.
            UsageError: it is not allowed, or the request is wrong.
            PlatformError: the service failed each time.
        """
        with errors.translate_errors("Vertex AI", where, _ROLE):
            try:
                return retry(call, _POLICY, transient=_TRANSIENT, wait=self._sleep)
            except api.TooManyRequests as error:
                raise _quota(where, errors.message_of(error)) from error


def failure(job: BatchPredictionJob) -> HeadraceError:
    """What a job ended with that did not end well."""
    code, name = job.error.code, job.name
    said = [job.error.message, *(partial.message for partial in job.partial_failures)]
    received = "; ".join(dict.fromkeys(text.strip().rstrip(".") for text in said if text)) or job.state.name
    if job.state in (JobState.JOB_STATE_CANCELLING, JobState.JOB_STATE_CANCELLED):
        return PlatformError(
            "the job was cancelled", where=name, received=received, fix="Run it again to start another"
        )
    if code in _DENIED:
        return UsageError(
            "the job may not do what it must",
            where=name,
            received=received,
            fix="Give its account what it lacks, or name another one as the job's service_account",
        )
    if code == _EXHAUSTED:
        return _quota(name, received)
    if code in _INVALID:
        return UsageError("the job failed for what it was given", where=name, received=received)
    return PlatformError("the job failed", where=name, received=received)


def _quota(where: str, received: str) -> PlatformError:
    return PlatformError(
        "the quota of Vertex AI is used up",
        where=where,
        received=received,
        fix="Run it again later, take fewer replicas, or ask for more quota",
    )
