"""The error of an ended run, by the exit status of the task that failed first."""

from __future__ import annotations

import pytest

from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UserError
from headrace.pipelines.submission.outcome import raise_for
from headrace.pipelines.submission.run import Run, Task


@pytest.mark.parametrize(
    ("status", "kind"),
    [(2, UserError), (3, GateRefused), (75, PlatformError), (1, PlatformError), (None, PlatformError)],
)
def test_a_failed_task_without_a_summary(status: int | None, kind: type[HeadraceError]) -> None:
    spec = {"root": {"dag": {"tasks": {"register": {}}}}}
    failed = Task("register", "failed", message="it ended", exit_status=status)
    run = Run("natality-1", "failed", "reference", "page", spec=spec, tasks={"register": failed})
    with pytest.raises(HeadraceError, match="register failed") as caught:
        raise_for(run, None, logs="headrace logs")
    assert type(caught.value) is kind
