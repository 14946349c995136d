"""Dataflow errors: translates failures of a job and of the service into headrace's errors."""

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

_ROLES = ("roles/dataflow.developer", "roles/storage.objectAdmin")
# A worker's error, as it stands in the last line of a traceback.
_OURS = re.compile(r"headrace\.core\.errors\.(\w+): (.+)")
_SHOWN = 500


@contextmanager
def translate_errors(runner: RunnerOptions) -> Iterator[None]:
    """Translates errors of a job on Dataflow; errors of other runners pass unchanged.

    Raises:
        UsageError: access is denied, or something that the job needs does not exist.
        UserError: a worker failed on something that the user can fix.
        PlatformError: the service or the job failed, or the job was cancelled.
    """
    if not isinstance(runner, DataflowRunner):
        yield
        return
    where = f"Dataflow in project {runner.project}, {runner.region}"
    with google_cloud.translate_errors("Dataflow", where, *_ROLES):
        try:
            yield
        except api.NotFound as error:
            raise UsageError(
                "Dataflow did not find something that the job needs",
                where=where,
                received=google_cloud.message_of(error),
            ) from error
        except DataflowJobAlreadyExistsError as error:
            raise PlatformError(
                "a job of this name is already running",
                where=where,
                received=str(error),
                fix="Wait for it, or cancel it (gcloud dataflow jobs cancel), and run this again",
            ) from error
        except DataflowRuntimeException as error:
            raise _failure(error, where) from error


def _failure(error: DataflowRuntimeException, where: str) -> HeadraceError:
    """The error for a job that did not succeed."""
    if error.result is not None and error.result.state == PipelineState.CANCELLED:
        return PlatformError("the job was cancelled", where=where, fix="Run it again to start another")
    text = str(error)
    ours = _OURS.findall(text)
    kind = getattr(errors, ours[-1][0], None) if ours else None
    if isinstance(kind, type) and issubclass(kind, UserError):
        return kind(ours[-1][1].strip().rstrip("."), where=where)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return PlatformError("the job failed", where=where, received=lines[-1][:_SHOWN].rstrip("."))
