"""Every request that our compiled Vertex spec makes, made for real by its tasks' own commands, and parsed.

The tasks that preprocess, train and evaluate are answered for; the launcher of google-cloud-pipeline-components that
starts the training, and our own tasks that register and deploy, run as their containers would run them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_engine import Call
from peers.pipeline_platforms import Platform, headrace
from peers.vertex.launchers import Launching

VERTEX_TOML = Path(__file__).parents[2] / "platforms" / "vertex.toml"
VERSION = "0123456789abcdef"
PARENT = "projects/demo-project/locations/us-central1"


@pytest.fixture
def ours(vertex: Platform, tmp_path: Path) -> Platform:
    """Static training, compiled for the test server's project and region."""
    return compiled(vertex, tmp_path)


def compiled(vertex: Platform, tmp_path: Path, *, spot: str = "spot = true") -> Platform:
    """Static training, with other options in the place of spot machines."""
    from headrace.pipelines.compiler import compile_to

    options = tmp_path / "vertex.toml"
    text = VERTEX_TOML.read_text().replace("my-project", "demo-project").replace("europe-west1", "us-central1")
    options.write_text(text.replace("spot = true", spot))
    vertex.spec = str(tmp_path / "static.yaml")
    compile_to("static", "vertex", vertex.spec, options_file=str(options))
    vertex.options = ["--platform", "vertex", "--options", str(options), "--api-endpoint", vertex.server.url]
    return vertex


def answers(platform: Platform, launching: Launching, scratch: Path) -> None:
    """What each task does: the launcher, register and deploy run; the others leave what those read."""
    from peers.vertex import containers

    from headrace.core import storage

    def runs(call: Call) -> dict[str, Any]:
        for artifact in call.outputs.values():
            # A bucket is no folder of this machine, as it is of Vertex AI's.
            if call.task == "deploy":
                artifact["uri"] = str(scratch / "endpoint.json")
        return containers.run(call, scratch, platform.server.url)

    launch = launching.of(platform.server, scratch)

    def trains(call: Call) -> dict[str, Any]:
        told = launch(call)
        storage.write_json(f"{call.outputs['model']['uri']}/training.json", {"model_version": VERSION})
        return told

    def evaluates(call: Call) -> dict[str, Any]:
        judged = {"model_version": VERSION, "blessed": True}
        storage.write_json(f"{call.outputs['evaluation']['uri']}/evaluation.json", judged)
        return {"Output": True}

    platform.do.by_task = {"train": trains, "evaluate": evaluates, "register": runs, "deploy": runs}


def test_every_request_of_the_spec_is_made_and_parsed(ours: Platform, launching: Launching, tmp_path: Path) -> None:
    answers(ours, launching, tmp_path)
    done = ours.submit("--wait")
    assert (done.status, done.error) == (0, "")
    held = ours.server.vertex.resources
    (job,) = [one for name, one in held.items() if "/customJobs/" in name]
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.display_name == "headrace-train"
    assert dict(job.labels) == {
        "headrace-step": "train", "team": "growth", "vertex-ai-pipelines-run-billing-id": "42",
    }  # fmt: skip
    spec = job.job_spec
    assert (spec.scheduling.strategy.name, spec.scheduling.timeout.total_seconds()) == ("SPOT", 12 * 3600)
    assert spec.scheduling.restart_job_on_worker_restart
    assert spec.service_account == "headrace@demo-project.iam.gserviceaccount.com"
    assert spec.network == "projects/123456789/global/networks/training"
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 2]
    called = next(call for call in ours.do.calls if call.task == "train")
    for pool in spec.worker_pool_specs:
        assert pool.container_spec.image_uri.startswith(
            "europe-docker.pkg.dev/demo-project/headrace/trainer-gpu@sha256:"
        )
        assert (pool.machine_spec.machine_type, pool.machine_spec.accelerator_count) == ("g2-standard-24", 2)
        assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("", 200)
        arguments = dict(zip(pool.container_spec.args[::2], pool.container_spec.args[1::2], strict=True))
        # What the workers are told went through JSON within JSON, and is whole.
        told = json.loads(arguments["--executor_input"])
        assert told["inputs"]["parameterValues"]["problem"] == called.parameters["problem"]
        assert told["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == called.outputs["model"]["uri"]
        assert arguments["--function_to_execute"] == "train"
        compile(pool.container_spec.command[-1], "train.py", "exec")
    model = held[f"{PARENT}/models/natality"]
    assert model.artifact_uri == called.outputs["model"]["uri"]
    assert "champion" in model.version_aliases
    endpoint = held[f"{PARENT}/endpoints/natality"]
    assert [deployed.model_version_id for deployed in endpoint.deployed_models] == ["1"]
    assert list(endpoint.traffic_split.values()) == [100]
    asked = {request.rpartition("/")[2] for request in ours.server.requests if request.startswith("POST")}
    assert {"pipelineJobs", "customJobs", "models:upload", "endpoints"} <= asked
    assert json.loads((tmp_path / "endpoint.json").read_text())["version"] == VERSION


@pytest.mark.parametrize(
    ("spot", "strategy", "wait", "resource"),
    [
        ("flex_start = true", "FLEX_START", 24 * 3600, ""),
        # Without a limit: a duration of 0 s, which is not an absent one.
        ("flex_start = true\nmax_wait_hours = 0.0", "FLEX_START", 0, ""),
        ('persistent_resource = "gpus-1"', "STANDARD", None, "gpus-1"),
    ],
)
def test_the_job_says_where_its_machines_come_from(
    vertex: Platform,
    launching: Launching,
    tmp_path: Path,
    spot: str,
    strategy: str,
    wait: int | None,
    resource: str,
) -> None:
    ours = compiled(vertex, tmp_path, spot=spot)
    ours.do.by_task = {"train": launching.of(ours.server, tmp_path)}
    assert ours.submit("--wait").status == 0
    (job,) = [one for name, one in ours.server.vertex.resources.items() if "/customJobs/" in name]
    scheduling = job.job_spec.scheduling
    assert scheduling.strategy.name == strategy
    waits = scheduling.max_wait_duration.total_seconds() if "max_wait_duration" in scheduling else None
    assert (waits, job.job_spec.persistent_resource_id) == (wait, resource)


def test_a_training_that_fails_late_fails_the_run(ours: Platform, launching: Launching, tmp_path: Path) -> None:
    from peers.vertex.resources import Refusal

    def out_of_machines(job: Any) -> None:
        raise Refusal(429, "RESOURCE_EXHAUSTED", "no NVIDIA_L4 is to be had")

    answers(ours, launching, tmp_path)
    ours.server.vertex.work["customJobs"] = out_of_machines
    done = ours.submit("--wait")
    assert done.status == 75
    assert "train failed" in done.error
    assert "register" not in [call.task for call in ours.do.calls]
    assert not [name for name in ours.server.vertex.resources if "/models/" in name]


@pytest.mark.parametrize(
    ("late", "code", "status", "message", "said"),
    [
        (False, 400, "INVALID_ARGUMENT", "no g2-standard-24 is offered here", "Vertex AI rejected the request"),
        (
            False,
            403,
            "PERMISSION_DENIED",
            "Permission 'storage.objects.get' denied",
            "--member=serviceAccount:headrace@demo-project.iam.gserviceaccount.com --role=roles/storage.objectAdmin",
        ),
        (True, 404, "NOT_FOUND", "there is no key ring", "Vertex AI rejected the request"),
        (True, 400, "FAILED_PRECONDITION", "the network has no peering", "Vertex AI rejected the request"),
    ],
)
def test_a_job_that_is_refused_is_the_callers_fault(
    ours: Platform,
    launching: Launching,
    tmp_path: Path,
    write_summary: Callable[..., Any],
    late: bool,
    code: int,
    status: str,
    message: str,
    said: str,
) -> None:
    """By the launcher's last words where its request was refused, and by the job's own error where that came late."""
    from peers.vertex.resources import Refusal

    from headrace.core.errors import PlatformError

    def refuse(job: Any) -> None:
        raise Refusal(code, status, message)

    answers(ours, launching, tmp_path)
    if late:
        ours.server.vertex.work["customJobs"] = refuse
    else:
        ours.server.fail("POST .*/customJobs$", code, message=message)
    # The step left no record, so that is all that the summary knows.
    unknown = PlatformError("train exited without an error message: it was killed, or ran out of memory")
    ours.on_end(write_summary("failed", error=unknown.to_json()))
    done = ours.submit("--wait")
    assert (done.status, message in done.error, said in done.error) == (2, True, True)
    name = done.output.partition(":")[0]
    (told,) = [
        task
        for task in json.loads(headrace("status", name, *ours.options, "--json").output)["tasks"]
        if task["refusal"]
    ]
    assert (told["name"], told["refusal"]["exit_status"]) == ("train", 2)


def test_a_process_that_fails_in_a_job_tells_itself_whose_fault_it_is(
    ours: Platform, launching: Launching, tmp_path: Path
) -> None:
    from peers.vertex.resources import invalid

    def fail(job: Any) -> None:
        raise invalid("The replica workerpool0-0 exited with a non-zero status of 75.")

    answers(ours, launching, tmp_path)
    ours.server.vertex.work["customJobs"] = fail
    assert ours.submit("--wait").status == 75


@pytest.mark.parametrize("code", [503, 0])
def test_the_launcher_outlives_a_poll_that_fails(
    ours: Platform, launching: Launching, tmp_path: Path, code: int
) -> None:
    answers(ours, launching, tmp_path)
    # What comes after the training has its own test; its processes take seconds to import.
    del ours.do.by_task["register"], ours.do.by_task["deploy"]
    ours.server.fail("GET .*/customJobs/", code, times=2)
    assert ours.submit("--wait").status == 0
    assert len([name for name in ours.server.vertex.resources if "/customJobs/" in name]) == 1


def test_a_pipeline_that_is_cancelled_cancels_its_training(
    ours: Platform, launching: Launching, tmp_path: Path
) -> None:
    ended: list[int] = []

    def cancelled(call: Call) -> dict[str, Any]:
        ended.append(launching.cancelled(call, ours.server, tmp_path))
        return {}

    ours.do.by_task = {"train": cancelled}
    vertex = ours.server.vertex
    # The job stays where it is until somebody ends it.
    advance: Callable[..., Any] = vertex._advance
    vertex._advance = lambda kind, one: None if kind == "customJobs" else advance(kind, one)
    assert ours.submit("--wait").status == 0
    assert ended == [0]
    (job,) = [one for name, one in vertex.resources.items() if "/customJobs/" in name]
    assert job.state.name == "JOB_STATE_CANCELLED"


def test_the_dry_run_asks_nobody(ours: Platform) -> None:
    told = json.loads(headrace("submit", ours.spec, *ours.options, *ours.inputs, "--dry-run").output)
    assert told["run_id"].startswith("natality-")
    assert told["parameters"]["registry"] == f"{PARENT}/models/natality"
    assert ours.server.requests == []
