"""Whose fault a task's failure is, by what Vertex AI says of it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.pipelines.submission.run import RunTask
from headrace.pipelines.submission.vertex.errors import Account
from headrace.pipelines.submission.vertex.failures import refusal

TRACE = 'Traceback (most recent call last):\n  File "launcher.py", line 1, in <module>\n'
NOT_FOUND = f"{TRACE}google.api_core.exceptions.NotFound: 404 job gone\n"
DOWN = f"{TRACE}google.api_core.exceptions.ServiceUnavailable: 503 down"
DENIED = f"{TRACE}google.api_core.exceptions.PermissionDenied: 403 Permission denied\n"
HANDLING = "\nDuring handling of the above exception, another exception occurred:\n\n"
QUOTAS = "The following quotas are exceeded: CustomModelTrainingT4GPUsPerProjectPerRegion"


def told(message: str) -> dict[str, Any] | None:
    def nobody() -> Any:
        raise AssertionError("the task gave no job away")

    account = Account("demo-project", "us-central1", "serviceAccount:runner@demo-project.iam.gserviceaccount.com")
    return refusal(RunTask("train", "failed", message=message), account, nobody)


@pytest.mark.parametrize(
    ("message", "received"),
    [
        (NOT_FOUND, "job gone"),
        (f"{DOWN}\nretrying\n{NOT_FOUND}", "job gone"),
        (
            "The job failed: google.api_core.exceptions.InvalidArgument: 400 ValueError: no such machine",
            "no such machine",
        ),
        ("code=INVALID_ARGUMENT, message=no g2-standard-24 is offered here, cause=null; x", "g2-standard-24"),
        ("AiPlatformException: code=FAILED_PRECONDITION, message=the network has no peering", "no peering"),
    ],
)
def test_the_callers_fault(message: str, received: str) -> None:
    error = told(message)
    assert error is not None
    assert (error["exit_status"], received in error["received"]) == (2, True)


@pytest.mark.parametrize(
    "message",
    [
        "",
        # The last exception is what ended the process, and not the one that was handled.
        f"{NOT_FOUND}retrying\n{DOWN}",
        f"{DENIED}{HANDLING}{TRACE}RuntimeError: the job could not be made: 503",
        f"{DENIED}{HANDLING}{TRACE}requests.exceptions.ConnectTimeout: the metadata server",
        f"{DENIED}{HANDLING}{TRACE}KeyboardInterrupt",
        "code=FAILED_PRECONDITION, message=The replica workerpool0-0 exited with a non-zero status of 1.",
        f"code=INVALID_ARGUMENT, message=The replica workerpool0-0 exited with a non-zero status of 1. {NOT_FOUND}",
        f"code=INVALID_ARGUMENT, message={QUOTAS}, cause=null",
        "code=FAILED_PRECONDITION, message=The DAG failed because some tasks failed. The failed tasks are: [train].",
        "code=UNAVAILABLE, message=the service is down",
    ],
)
def test_what_is_not_the_callers_fault(message: str) -> None:
    assert told(message) is None
