"""A retry within a pipeline job of Vertex AI or Kubeflow ends as the attempt before it, and nothing else does."""

import json
from pathlib import Path

import pytest

from headrace.core.errors import DataError, GateRefused, HeadraceError, PlatformError
from headrace.core.steps import step as steps
from headrace.core.steps.repeated import ATTEMPT, job_of

ROOT = "gs://bucket/headrace/123456789012"
OUTPUT = f"{ROOT}/natality-0123/train_-5183465821/model"
MISTAKE = DataError("no rows", where="x.csv", expected="rows", table=[["a", "b"], ["1", "2"]])


# Of a task of Kubeflow, as its driver names it: one of all attempts, on the path where the launcher has it.
KUBEFLOW = (
    "/minio/mlpipeline/v2/artifacts/natality/1b2a7cd5-3bde-4a07-8a2d-0d8c1f1c9c41/train"
    "/7f0c1c0e-5a63-4a1c-9c1e-2f6f1d0a9d11/model"
)


def attempt(root: Path, output: str, error: HeadraceError | None, *, identity: str = "abc") -> tuple[object, bool]:
    """Exit status of an attempt, and whether it began its work."""
    worked = False
    try:
        with steps.running("train", root=str(root)) as step:
            step.identity = identity
            step.end_as_before(output)
            worked = True
            if error is not None:
                raise error
    except SystemExit as ended:
        return ended.code, worked
    return 0, worked


@pytest.mark.parametrize(("error", "status"), [(MISTAKE, 2), (GateRefused("worse"), 3)])
def test_a_retry_ends_at_once_with_the_same_paragraph(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: HeadraceError, status: int
) -> None:
    assert attempt(tmp_path, OUTPUT, error) == (status, True)
    # The engine may number the task again: the job is the same.
    for output in (OUTPUT, f"{ROOT}/natality-0123/train_77/model", OUTPUT):
        assert attempt(tmp_path, output, None) == (status, False)
    last = [event for line in capfd.readouterr().out.splitlines() if (event := steps.parse_event(line))][-1]
    assert last["message"] == error.text
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record is not None
    assert (record["status"], record["error"]) == ("failed", error.to_json())


def test_a_task_of_vertex_without_an_artifact_is_known_by_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(job: str) -> None:
        place = f"{ROOT.replace('gs://', '/gcs/')}/{job}/study_-59/executor_output.json"
        monkeypatch.setattr("sys.argv", ["x", "--executor_input", json.dumps({"outputs": {"outputFile": place}})])

    told("natality-0123")
    assert attempt(tmp_path, "", MISTAKE) == (2, True)
    assert attempt(tmp_path, "", None) == (2, False)
    # Another task of the same job, with the same record.
    assert attempt(tmp_path, OUTPUT, None) == (2, False)
    told("natality-0124")
    assert attempt(tmp_path, "", None) == (0, True)


@pytest.mark.parametrize(
    ("output", "identity"),
    [
        # A new submission: in between, somebody may have granted a role.
        (f"{ROOT}/natality-0124/train_-5183465821/model", "abc"),
        (OUTPUT, "other"),
        ("/tmp/out/train/model", "abc"),
    ],
)
def test_another_job_or_other_work_begins(tmp_path: Path, output: str, identity: str) -> None:
    assert attempt(tmp_path, OUTPUT, MISTAKE) == (2, True)
    assert attempt(tmp_path, output, None, identity=identity) == (0, True)


def test_what_the_platform_failed_or_what_succeeded_begins_again(tmp_path: Path) -> None:
    assert attempt(tmp_path, OUTPUT, PlatformError("preempted")) == (75, True)
    assert attempt(tmp_path, OUTPUT, None) == (0, True)
    assert attempt(tmp_path, OUTPUT, None) == (0, True)


def test_an_engine_without_a_job_in_its_outputs_tries_again(tmp_path: Path) -> None:
    for output in ("/tmp/out/train/model", "gs://bucket/v2/artifacts/natality/0b1c/train/model"):
        assert attempt(tmp_path, output, MISTAKE) == (2, True)
        assert attempt(tmp_path, output, None) == (0, True)


@pytest.mark.parametrize(
    ("output", "job"),
    [
        (OUTPUT, f"{ROOT}/natality-0123"),
        ("gs://bucket/1/natality-0123/evaluate-2_42/evaluation", "gs://bucket/1/natality-0123"),
        ("gs://bucket/headrace/natality-0123/train_-51/model", ""),
        ("s3://bucket/1/natality-0123/train_-51/model", ""),
        ("", ""),
    ],
)
def test_the_job_of_an_output(output: str, job: str) -> None:
    assert job_of(output) == job


@pytest.mark.parametrize(("error", "status"), [(MISTAKE, 2), (GateRefused("worse"), 3)])
def test_an_automatic_retry_of_kubeflow_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: HeadraceError, status: int
) -> None:
    monkeypatch.setenv(ATTEMPT, "0")
    assert attempt(tmp_path, KUBEFLOW, error) == (status, True)
    for number in ("1", "2"):
        monkeypatch.setenv(ATTEMPT, number)
        assert attempt(tmp_path, KUBEFLOW, None) == (status, False)
    # The same run, started again by hand: the attempts are counted anew, and begin to work.
    monkeypatch.setenv(ATTEMPT, "0")
    assert attempt(tmp_path, KUBEFLOW, PlatformError("preempted")) == (75, True)
    monkeypatch.setenv(ATTEMPT, "1")
    assert attempt(tmp_path, KUBEFLOW, None) == (0, True)


def test_an_attempt_that_is_killed_after_a_run_was_started_again_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ATTEMPT, "0")
    assert attempt(tmp_path, KUBEFLOW, MISTAKE) == (2, True)
    with pytest.raises(KeyboardInterrupt):  # no record is written
        attempt(tmp_path, KUBEFLOW, KeyboardInterrupt())  # type: ignore[arg-type]
    monkeypatch.setenv(ATTEMPT, "1")
    assert attempt(tmp_path, KUBEFLOW, None) == (0, True)


@pytest.mark.parametrize("number", [None, "", "{{retries}}"])
def test_a_backend_that_does_not_number_the_attempts_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str | None
) -> None:
    monkeypatch.delenv(ATTEMPT, raising=False)
    if number is not None:
        monkeypatch.setenv(ATTEMPT, number)
    for _ in range(2):
        assert attempt(tmp_path, KUBEFLOW, MISTAKE) == (2, True)


def test_the_job_of_a_task_of_kubeflow() -> None:
    assert job_of(KUBEFLOW, 1) == KUBEFLOW.removesuffix("/model")
    assert job_of(f"gs://b/{KUBEFLOW}", 0) == f"gs://b/{KUBEFLOW}".removesuffix("/model")
    assert job_of(KUBEFLOW) == job_of("/tmp/out/train/model", 1) == ""
