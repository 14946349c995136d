"""The test server of Kubeflow Pipelines refuses what the real one does, in its words, and answers as that does."""

import copy
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from peers.kubeflow_pipelines import KubeflowPipelines, kubeflow_pipelines
from peers.pipeline_platforms import GOLDEN

from headrace.core.errors import UsageError
from headrace.pipelines.lint.check import lint

__all__ = ["kubeflow_pipelines"]

Spec = dict[str, Any]
PIPELINE, SETTINGS = yaml.safe_load_all((GOLDEN / "static_training_kubeflow.yaml").read_text())


def asked(server: KubeflowPipelines, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def submitted(kubeflow_pipelines: KubeflowPipelines) -> Callable[..., tuple[int, Any]]:
    """`submitted(spec, parameters)`: the response to a run of a spec, or to a recurring one."""
    _, experiment = asked(kubeflow_pipelines, "apis/v2beta1/experiments", {"display_name": "headrace"})

    def submit(spec: Spec, parameters: Any = None, *, recurring: bool = False) -> tuple[int, Any]:
        body = {
            "experiment_id": experiment["experiment_id"],
            "display_name": "one",
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": SETTINGS},
            "runtime_config": {"parameters": required(spec) if parameters is None else parameters},
        }
        if recurring:
            body |= {"mode": "ENABLE", "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}}}
        return asked(kubeflow_pipelines, f"apis/v2beta1/{'recurringruns' if recurring else 'runs'}", body)

    return submit


def required(spec: Spec) -> dict[str, Any]:
    """Values for the parameters that have no default."""
    declared = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    return {
        name: 1.5 if one["parameterType"] == "NUMBER_DOUBLE" else "x"
        for name, one in declared.items()
        if "defaultValue" not in one and not one.get("isOptional")
    }


def changed(change: Callable[[Spec], object]) -> Spec:
    spec = copy.deepcopy(PIPELINE)
    change(spec)
    return spec


def executors(spec: Spec) -> Spec:
    found: Spec = spec["deploymentSpec"]["executors"]
    return found


def task(spec: Spec, name: str = "resolve") -> Spec:
    graphs = [one["dag"]["tasks"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    found: Spec = next(tasks[name] for tasks in graphs if name in tasks)
    return found


MISTAKES: dict[str, tuple[Callable[[Spec], object], str]] = {
    "no name": (lambda spec: spec["pipelineInfo"].clear(), "unknown template format"),
    "no root": (lambda spec: spec.pop("root"), "unknown template format"),
    "unknown field": (lambda spec: spec.update(unknown=1), "unknown template format"),
    "schema": (
        lambda spec: spec.update(schemaVersion="2.0.0"),
        "KFP only supports schema version 2.1.0, but the pipeline spec has version 2.0.0",
    ),
    "loop over artifacts": (
        lambda spec: task(spec).update(artifactIterator={"items": {"inputArtifact": "x"}, "itemInput": "x"}),
        "artifact iterator not implemented yet",
    ),
    "no component": (
        lambda spec: task(spec)["componentRef"].update(name="gone"),
        'component spec for "gone" not found',
    ),
    "no executor": (lambda spec: executors(spec).pop("exec-resolve"), 'executor with label "exec-resolve" not found'),
    "resolver": (
        lambda spec: executors(spec).update({"exec-resolve": {"resolver": {}}}),
        "resolver executors not implemented",
    ),
    "custom job": (
        lambda spec: executors(spec).update({"exec-resolve": {"customJob": {}}}),
        "custom job executors is Google Cloud only, it's not supported",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("recurring", [False, True])
def test_specs_that_are_refused(
    submitted: Callable[..., tuple[int, Any]], tmp_path: Path, mistake: str, recurring: bool
) -> None:
    change, said = MISTAKES[mistake]
    spec = changed(change)
    status, body = submitted(spec, recurring=recurring)
    assert (status, body["code"], said in body["message"]) == (500, 13, True), body
    # Lint refuses the same specs.
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump_all([spec, SETTINGS]))
    try:
        refused = any(finding.refused for finding in lint(str(tmp_path / "spec.yaml"), "kubeflow"))
    except UsageError:
        # Without a root the file is none that a compiler of KFP wrote.
        refused = mistake == "no root"
    assert refused


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "is not optional, yet has neither default value nor user provided value"),
        ({**required(PIPELINE), "root": 7}, "input parameter root requires type string"),
        ({**required(PIPELINE), "other": 7}, "parameter(s) provided are not required by pipeline: other"),
    ],
)
def test_parameters_that_are_refused(submitted: Callable[..., tuple[int, Any]], parameters: Any, said: str) -> None:
    status, body = submitted(PIPELINE, parameters)
    assert (status, body["code"], said in body["message"]) == (400, 3, True), body


def test_parameters_of_any_length_are_taken(submitted: Callable[..., tuple[int, Any]]) -> None:
    # The limit of 10,000 characters is one of the API v1beta1: api_converter.go, toModelParameters.
    assert submitted(PIPELINE, {**required(PIPELINE), "root": "/" + "r" * 20_000})[0] == 200


@pytest.mark.parametrize(("release", "status"), [("2.13.0", 500), ("v2.14.0", 200), ("unknown", 200)])
def test_the_final_status_before_2_14(
    kubeflow_pipelines: KubeflowPipelines, submitted: Callable[..., tuple[int, Any]], release: str, status: int
) -> None:
    kubeflow_pipelines.tag_name = release
    found, body = submitted(PIPELINE)
    assert found == status
    assert ("task final status not supported yet" in json.dumps(body)) is (status == 500)


def test_a_time_that_is_not_set_is_the_epoch(
    kubeflow_pipelines: KubeflowPipelines, submitted: Callable[..., tuple[int, Any]]
) -> None:
    _, run = submitted(PIPELINE)
    assert run["finished_at"].startswith("1970-01-01T00:00:00")
    place = f"apis/v2beta1/runs/{run['run_id']}"
    for _ in range(3):
        _, run = asked(kubeflow_pipelines, place)
    running = [one for one in run["run_details"]["task_details"] if one["state"] == "RUNNING"]
    assert running
    assert all(one["end_time"].startswith("1970-01-01T00:00:00") for one in running)
    assert not any(set(one) & {"error", "pod_name", "executor_detail"} for one in running)


@pytest.mark.parametrize("status", [200, 500])
def test_a_log_that_is_missing_is_json_of_the_server(
    kubeflow_pipelines: KubeflowPipelines, submitted: Callable[..., tuple[int, Any]], status: int
) -> None:
    kubeflow_pipelines.missing_log = status
    _, run = submitted(PIPELINE)
    found, body = asked(kubeflow_pipelines, f"apis/v1alpha1/runs/{run['run_id']}/nodes/none/log")
    assert (found, sorted(body)) == (status, ["error_details", "error_message"])
    assert 'pods "none" not found' in body["error_message"]
