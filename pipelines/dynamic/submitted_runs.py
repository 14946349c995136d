"""Runs of dynamic training on Vertex AI or Kubeflow. The id of a run is the name of the platform's run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import Status
from headrace.core.ledger.state import LedgerRun
from headrace.core.retry import RetryPolicy, create_once, retry
from headrace.pipelines.dynamic.arguments import arguments_of
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.submission import inputs, parameters
from headrace.pipelines.submission.place import PlatformLocation, service
from headrace.pipelines.submission.place import settings as settings_of
from headrace.pipelines.submission.run import Service, Submission


class SubmittedRuns:
    """Runs of a platform.

    Args:
        settings: settings of the dynamic training.
        policy: retry policy of requests; None for the default.
    """

    def __init__(self, settings: DynamicSettings, policy: RetryPolicy | None = None) -> None:
        self._settings = settings
        self._policy = policy or RetryPolicy()

    def status(self, run_id: str) -> Status:
        """See `PlatformRuns`."""
        with self._service() as opened:
            found = retry(lambda: opened.find(run_id), self._policy)
        if found is None:
            return "absent"
        return "ended" if found.ended else "alive"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """See `PlatformRuns`."""
        del arrivals
        submission = submission_of(self._settings, run, time.time())
        with self._service() as opened:
            name = opened.run_id(run.id)
            create_once(lambda: opened.create(name, submission), lambda: opened.find(name), self._policy)

    def _service(self) -> AbstractContextManager[Service]:
        return service(_place(self._settings))


def submission_of(settings: DynamicSettings, run: LedgerRun, started: float) -> Submission:
    """The submission of a run of the compiled pipeline.

    Args:
        settings: settings of the dynamic training.
        run: the run that the ledger names.
        started: start of the run, in seconds since 1970.

    Raises:
        UsageError: the spec does not exist, or is that of another pipeline.
    """
    place = _place(settings)
    common = settings_of(place)
    read = read_spec(settings.spec)
    values = arguments_of(settings, run, started)
    parameters.check_complete(values, parameters.declared(read.pipeline), {})
    platforms = [{"platforms": dict(read.platform)}] if read.platform and place.platform == "kubeflow" else []
    return Submission(
        documents=[dict(read.pipeline), *platforms],
        name=read.name,
        parameters=values,
        pipeline_root=inputs.pipeline_root(settings.root, read.pipeline, place.platform),
        labels=dict(common.labels),
        service_account=common.service_account,
    )


def _place(settings: DynamicSettings) -> PlatformLocation:
    if settings.place is None:
        raise UsageError("the platform has no place", where=settings.uri, received=settings.platform)
    return settings.place
