"""What Dataflow and the way to it answer, turned into our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
from apache_beam.runners.runner import PipelineState
from google.api_core import exceptions as api

from headrace.core import errors
from headrace.core.beam.dataflow import DataflowRunner
from headrace.core.beam.runner_options import RunnerOptions
from headrace.core.cloud import errors as google_cloud
from headrace.core.errors import HeadraceError, PlatformError, UsageError, UserError

_ROLES = "the roles roles/dataflow.developer and roles/storage.objectAdmin"
# A worker's error, as the last line of a traceback has it.
_OURS = re.compile(r"headrace\.core\.errors\.(\w+): (.+)")
_SHOWN = 500


@contextmanager
def explained(runner: RunnerOptions) -> Iterator[None]:
    """Turns what a job on Dataflow ends with into one of our errors; what other runners raise, passes.

    Raises:
        UsageError: it is not allowed, or not there.
        UserError: what a worker ended with, where that is the user's to mend.
        PlatformError: the service failed, the job did, or was cancelled.
    """
    if not isinstance(runner, DataflowRunner):
        yield
        return
    where = f"Dataflow in {runner.project}, {runner.region}"
    with google_cloud.translate_errors("Dataflow", where, _ROLES):
        try:
            yield
        except api.NotFound as error:
            raise UsageError(
                "Dataflow does not find what the job needs", where=where, received=google_cloud.said(error)
            ) from error
        except DataflowJobAlreadyExistsError as error:
            raise PlatformError(
                "a job of this name runs already",
                where=where,
                received=str(error),
                fix="Wait for it, or cancel it (gcloud dataflow jobs cancel), and run this again",
            ) from error
        except DataflowRuntimeException as error:
            raise _failure(error, where) from error


def _failure(error: DataflowRuntimeException, where: str) -> HeadraceError:
    """What a job that did not end well came to."""
    if error.result is not None and error.result.state == PipelineState.CANCELLED:
        return PlatformError("the job was cancelled", where=where, fix="Run it again to start another")
    text = str(error)
    ours = _OURS.findall(text)
    kind = getattr(errors, ours[-1][0], None) if ours else None
    if isinstance(kind, type) and issubclass(kind, UserError):
        return kind(ours[-1][1].strip().rstrip("."), where=where)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return PlatformError("the job failed", where=where, received=lines[-1][:_SHOWN].rstrip("."))
