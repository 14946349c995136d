"""The error of an ended run, by the exit status of the task that failed first."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core import storage
from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UserError
from headrace.core.steps.workspace import summary_uri
from headrace.pipelines.submission.outcome import raise_for, read_summary
from headrace.pipelines.submission.run import PlatformRun, RunTask


@pytest.mark.parametrize(
    ("status", "kind"),
    [(2, UserError), (3, GateRefused), (75, PlatformError), (1, PlatformError), (None, PlatformError)],
)
def test_a_failed_task_without_a_summary(status: int | None, kind: type[HeadraceError]) -> None:
    spec = {"root": {"dag": {"tasks": {"register": {}}}}}
    failed = RunTask("register", "failed", message="it ended", exit_status=status)
    run = PlatformRun("natality-1", "failed", "reference", "page", spec=spec, tasks={"register": failed})
    with pytest.raises(HeadraceError, match="register failed") as caught:
        raise_for(run, None, logs="headrace logs")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("job", "reference", "pods", "found"),
    [
        ("natality-x7k2p", "0b1c", ("natality-x7k2p-3456",), True),
        ("natality-y8k3q", "0b1c", ("natality-x7k2p-3456",), False),
        ("projects/1/locations/l/pipelineJobs/n-1", "projects/1/locations/l/pipelineJobs/n-1", (), True),
        ("projects/1/locations/l/pipelineJobs/n-2", "projects/1/locations/l/pipelineJobs/n-1", (), False),
    ],
)
def test_a_summary_whose_machine_is_hours_behind(
    tmp_path: Path, job: str, reference: str, pods: tuple[str, ...], found: bool
) -> None:
    """The engine's name of the run decides, and not the time, which is of another machine's clock."""
    root = str(tmp_path)
    tasks = {"train": RunTask("train", "failed", jobs=pods)}
    parameters = {"root": root, "run_id": "n-1", "started": 5.0}
    run = PlatformRun("n-1", "failed", reference, created=8_200.0, parameters=parameters, tasks=tasks)
    for finished in (1_000.0, 12_000.0):
        storage.write_json(summary_uri(root, "n-1"), {"started": 5.0, "finished": finished, "job": job})
        assert (read_summary(run) is not None) is found
