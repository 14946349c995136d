"""A record is of the run whose name the engine gave it, whatever the clocks of the machines are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.core.steps import step as steps
from headrace.core.steps.engine_job import POD, is_of_job, is_pod_of, names_of

FOLDER = "gs://bucket/headrace/123456789012/natality-0123"


@pytest.mark.parametrize(
    ("record", "job", "of"),
    [
        ({"pod": "natality-x7k2p-system-container-impl-123"}, "natality-x7k2p", True),
        ({"pod": "natality-x7k2p-system-container-impl-123"}, "natality-x7k2", False),
        ({"pod": "natality-x7k2p-1", "job": "/minio/b/natality/run/train/salt"}, "natality-x7k2p", True),
        ({"job": FOLDER}, "projects/1/locations/europe-west1/pipelineJobs/natality-0123", True),
        ({"job": FOLDER}, "projects/1/locations/europe-west1/pipelineJobs/natality-0124", False),
        ({"job": FOLDER}, "", None),
        ({}, "natality-x7k2p", None),
    ],
)
def test_the_run_of_a_record(record: dict[str, str], job: str, of: bool | None) -> None:
    assert is_of_job(record, job) is of


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_pod_whose_clock_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    monkeypatch.delenv(steps.ENGINE_RUN, raising=False)
    monkeypatch.setenv(POD, "natality-x7k2p-system-container-impl-123")
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record is not None
    started = record["started"] + 3600 * hours
    assert steps.is_of_run(record, started, "natality-x7k2p")
    assert not steps.is_of_run(record, started, "natality-y8k3q")
    # Where the engine's name of the run is not known, the time decides.
    assert steps.is_of_run(record, started) is (hours < 0)


def arguments(output_file: Any) -> list[str]:
    """The command line of a task, as engines give it."""
    told = json.dumps({"inputs": {}, "outputs": {"outputFile": output_file}})
    return ["executor_main", "--executor_input", told, "--function_to_execute", "register"]


VERTEX = "/gcs/bucket/headrace/123456789012/natality-0123/register_-5950113757618241536/executor_output.json"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (arguments(VERTEX), {"job": FOLDER}),
        (arguments("/tmp/kfp_outputs/output_metadata.json"), {}),
        (arguments("/data/out/pipeline/static-training/register/executor_output.json"), {}),
        (arguments("/gcs/bucket/file"), {}),
        (arguments(None), {}),
        (["executor_main", "--executor_input", "{"], {}),
        (["executor_main", "--executor_input", "[]"], {}),
        (["executor_main", "--executor_input", '{"outputs": null}'], {}),
        (["executor_main", "--executor_input"], {}),
        ([], {}),
    ],
)
def test_the_names_of_a_task(given: list[str], names: dict[str, str]) -> None:
    assert names_of({}, given) == names
    assert names_of({POD: "natality-x7k2p-1"}, given) == {"pod": "natality-x7k2p-1", **names}


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_task_of_vertex_without_an_artifact_on_a_machine_whose_clock_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    monkeypatch.delenv(steps.ENGINE_RUN, raising=False)
    monkeypatch.setattr("sys.argv", arguments(VERTEX))
    with steps.running("register", root=str(tmp_path)) as step:
        step.identity = "abc"
    record = steps.read_record(str(tmp_path), "register", "abc")
    assert record is not None
    started = record["started"] + 3600 * hours
    assert steps.is_of_run(record, started, "projects/1/locations/europe-west1/pipelineJobs/natality-0123")
    assert not steps.is_of_run(record, started, "projects/1/locations/europe-west1/pipelineJobs/natality-0124")


def test_a_node_of_argo_is_of_its_workflow() -> None:
    assert is_pod_of("natality-x7k2p", "natality-x7k2p")
    assert is_pod_of("natality-x7k2p-3456", "natality-x7k2p")
    assert not is_pod_of("natality-x7k2p2", "natality-x7k2p")
