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


VERTEX = "projects/1/locations/europe-west1/pipelineJobs/"
RUN, OTHER = "0b1c7cd5-3bde-4a07-8a2d-0d8c1f1c9c41", "7f0c1c0e-5a63-4a1c-9c1e-2f6f1d0a9d11"


@pytest.mark.parametrize(
    ("reference", "names", "found"),
    [
        (RUN, {"job": "natality-x7k2p", "execution": RUN}, True),
        # An earlier run with the same parameters, such as the last one of a schedule.
        (RUN, {"job": "natality-y8k3q", "execution": OTHER}, False),
        (f"{VERTEX}n-1", {"job": f"{VERTEX}n-1", "execution": "1234567890"}, True),
        (f"{VERTEX}n-1", {"job": f"{VERTEX}n-2", "execution": "1234567890"}, False),
        # A summary that names no run is of an unknown one.
        (RUN, {"job": "natality-x7k2p", "execution": ""}, False),
        (RUN, {}, False),
        (f"{VERTEX}n-1", {"job": "", "execution": RUN}, False),
        (f"{VERTEX}n-1", {}, False),
    ],
)
@pytest.mark.parametrize("tasks", [{}, {"train": RunTask("train", "failed", jobs=("natality-x7k2p-3456",))}])
def test_a_summary_is_of_the_run_that_it_names_whatever_the_clocks_are(
    tmp_path: Path, reference: str, names: dict[str, str], found: bool, tasks: dict[str, RunTask]
) -> None:
    root = str(tmp_path)
    parameters = {"root": root, "run_id": "n-1", "started": 5.0}
    run = PlatformRun("n-1", "failed", reference, created=8_200.0, parameters=parameters, tasks=tasks)
    for finished in (1_000.0, 12_000.0):
        storage.write_json(summary_uri(root, "n-1"), {"started": 5.0, "finished": finished, **names})
        assert (read_summary(run) is not None) is found


def test_a_summary_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "n-1" / "summary.json"
    run = PlatformRun("n-1", "failed", RUN, parameters={"root": str(tmp_path), "run_id": "n-1"})
    assert read_summary(run) is None
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    assert read_summary(run) is None
    assert read_summary(PlatformRun("n-1", "failed", RUN)) is None
