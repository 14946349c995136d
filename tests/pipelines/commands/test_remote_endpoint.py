"""`headrace endpoint` and `headrace rollback` on Vertex AI: real requests of the SDK to a test server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.command import headrace
from support.registered_models import make_model

from headrace.components.deploy.vertex.deploy import VertexDeployConfig, deploy
from headrace.components.registry.vertex.register import UploadConfig, register
from headrace.components.registry.vertex.registry import VertexRegistry
from headrace.core import storage

A, B = "a" * 16, "b" * 16
ENTRY, NAME = f"{PARENT}/models/natality", f"{PARENT}/endpoints/natality"
IMAGE = f"europe-docker.pkg.dev/my-project/headrace/server@sha256:{'3' * 64}"


@pytest.fixture
def deployed(vertex_server: VertexServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VertexServer:
    vertex_server.be_asked_from_here()
    monkeypatch.chdir(tmp_path)
    for version in (A, B):
        uri = f"gs://{bucket}/runs/{version}/model"
        storage.upload_folder(Path(make_model(tmp_path / version, version)), uri, "training.json")
        config = UploadConfig(registry=ENTRY, model_uri=uri, version=version, serving_image=IMAGE)
        deploy(VertexDeployConfig(register(config, f"gs://{bucket}/root", None, ["champion"]), NAME, "n1-standard-4"))
    return vertex_server


def test_status_rollback_history_and_promote(deployed: VertexServer, tmp_path: Path) -> None:
    shown = headrace("endpoint", "status", NAME)
    words = " ".join(shown.stdout.split())
    assert (shown.returncode, f"live {B}, healthy traffic {B} 100 % previous {A}" in words) == (0, True), shown
    told = headrace("rollback", NAME, "--why", "pager")
    assert told.returncode == 0, told.stderr
    assert [line.split()[:2] for line in told.stdout.splitlines()] == [["traffic", A], ["registry", B]]
    assert VertexRegistry(ENTRY).aliases() == {"champion": A}
    found = json.loads(headrace("endpoint", "status", NAME, "--json").stdout)
    assert (found["traffic"], found["state"]["live"], list(found["state"]["bad"])) == ({A: 100}, A, [B])
    history = json.loads(headrace("endpoint", "history", NAME, "--json").stdout)["history"]
    assert [(c["action"], c["version"], c["why"]) for c in history] == [("rollback", A, "pager")]
    refused = headrace("endpoint", "promote", NAME, B)
    assert (refused.returncode, "marked as bad" in refused.stderr) == (3, True)
    told = headrace("endpoint", "promote", NAME, B, "--restore", "--why", "good after all")
    assert told.returncode == 0, told.stderr
    assert VertexRegistry(ENTRY).aliases() == {"champion": B, "previous": A}
    refused = headrace("endpoint", "undeploy", NAME, B)
    assert (refused.returncode, "the version has traffic" in refused.stderr) == (2, True)
    assert headrace("endpoint", "undeploy", NAME, A).returncode == 0
    assert [one.model_version_id for one in deployed.vertex.resources[NAME].deployed_models] == ["2"]
    # Nothing is left beside the models of the test.
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name not in (A, B)) == []


def test_steps_of_a_canary(deployed: VertexServer, bucket: str, tmp_path: Path) -> None:
    version, log = "c" * 16, f"gs://{bucket}/traffic"
    command = [
        "endpoint",
        "canary",
        NAME,
        version,
        "--traffic-log",
        log,
        "--canary",
        "20",
        "--watch",
        "0.01s",
        "--json",
    ]
    missing = headrace(*command)
    assert (missing.returncode, "the version is not deployed" in missing.stderr) == (2, True)
    uri = f"gs://{bucket}/runs/{version}/model"
    storage.upload_folder(Path(make_model(tmp_path / version, version)), uri, "training.json")
    config = UploadConfig(ENTRY, uri, version, IMAGE, traffic_log=log, request_log=f"{log}-requests")
    deploy(VertexDeployConfig(register(config, f"gs://{bucket}/root", None, []), NAME, "n1-standard-4", traffic=0))
    # The container gets the folder.
    held = deployed.vertex.models.versions[ENTRY]["3"]
    assert {one.name: one.value for one in held.container_spec.env} == {
        "HEADRACE_TRAFFIC_LOG": log,
        "HEADRACE_REQUEST_LOG": f"{log}-requests",
    }
    unread = headrace(*command, "--canary-setting", "minimum_replayed=10")
    assert (unread.returncode, "the settings of the canary require replayed requests" in unread.stderr) == (2, True)
    begun = headrace(*command)
    assert begun.returncode == 0, begun.stderr
    step = json.loads(begun.stdout)
    assert (step["outcome"], step["traffic"]) == ("under way", {B: 80, version: 20})
    ended = headrace(*command)
    assert (ended.returncode, "the canary was withdrawn" in ended.stderr) == (75, True)
    assert json.loads(headrace("endpoint", "status", NAME, "--json").stdout)["traffic"] == {B: 100}
    (tmp_path / version).rename(tmp_path / A / version)


def test_an_endpoint_that_is_not_there(vertex_server: VertexServer) -> None:
    vertex_server.be_asked_from_here()
    for command in (["endpoint", "status"], ["endpoint", "history"], ["rollback"]):
        ended = headrace(*command, NAME)
        assert (ended.returncode, "the endpoint does not exist" in ended.stderr) == (2, True), command
    ended = headrace("rollback", "projects/p/endpoints/e")
    assert (ended.returncode, "the endpoint name is not valid" in ended.stderr) == (2, True)
