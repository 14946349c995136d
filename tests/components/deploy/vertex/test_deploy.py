"""The Model Registry and endpoints: real requests of the SDK to a test server that parses and keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT

from headrace.components.deploy.vertex import deploy, step
from headrace.components.registry.vertex import register as registry
from headrace.components.registry.vertex.register import UploadConfig, registered_model, upload
from headrace.core.errors import PlatformError, UsageError
from headrace.core.steps import identity
from headrace.core.steps.step import read_record

REGISTRY = f"{PARENT}/models/natality"
ENDPOINT = f"{PARENT}/endpoints/natality"
IMAGE = f"europe-docker.pkg.dev/my-project/headrace/server@sha256:{'3' * 64}"


@pytest.fixture
def server(vertex_server: VertexServer) -> VertexServer:
    vertex_server.be_asked_from_here()
    return vertex_server


def registered(version: str, **changes: Any) -> str:
    config = UploadConfig(
        registry=REGISTRY,
        model_uri="gs://my-bucket/runs/1/train/model",
        version=version,
        serving_image=IMAGE,
        labels={"team": "growth"},
    )
    return upload(config if not changes else UploadConfig(**{**vars(config), **changes}))


def config(model: str, traffic: int = 100) -> deploy.VertexDeployConfig:
    return deploy.VertexDeployConfig(model, ENDPOINT, "n1-standard-4", traffic=traffic, labels={"team": "growth"})


def test_versions_come_under_one_parent(server: VertexServer) -> None:
    assert registered("aaaa") == f"{REGISTRY}@1"
    assert registered("bbbb") == f"{REGISTRY}@2"
    assert [name for name in server.vertex.resources if "/models/" in name] == [REGISTRY]
    held = server.vertex.versions[REGISTRY]["2"]
    assert held.container_spec.image_uri == IMAGE
    assert held.container_spec.predict_route == "/predict"
    assert held.container_spec.health_route == "/health"
    assert held.artifact_uri == "gs://my-bucket/runs/1/train/model"
    assert dict(held.labels)["team"] == "growth"
    assert registered_model(f"{REGISTRY}@2") == ("bbbb", "gs://my-bucket/runs/1/train/model")


def test_a_version_is_uploaded_once(server: VertexServer) -> None:
    assert registered("aaaa") == registered("aaaa") == f"{REGISTRY}@1"
    assert registered("bbbb") == f"{REGISTRY}@2"
    assert len([request for request in server.requests if request.endswith("models:upload")]) == 2


def test_the_endpoint_is_made_once_and_all_traffic_goes_to_the_new_one(server: VertexServer) -> None:
    first = deploy.deploy(config(registered("aaaa")))
    assert (dict(first.traffic), first.previous) == ({first.deployed: 100}, None)
    second = deploy.deploy(config(registered("bbbb")))
    assert dict(second.traffic) == {first.deployed: 0, second.deployed: 100}
    assert second.previous == first.deployed
    third = deploy.deploy(config(registered("cccc")))
    # One is kept for going back; what was before that costs machines for nothing.
    assert third.removed == (first.deployed,)
    assert dict(third.traffic) == {second.deployed: 0, third.deployed: 100}
    assert [name for name in server.vertex.resources if "/endpoints/" in name] == [ENDPOINT]
    assert {m.id for m in server.vertex.resources[ENDPOINT].deployed_models} == {second.deployed, third.deployed}


def test_a_dedicated_endpoint_has_a_host_and_a_timeout_of_its_own(server: VertexServer) -> None:
    asked = replace(config(registered("aaaa")), dedicated=True, inference_timeout_s=1800)
    first = deploy.deploy(asked)
    held = server.vertex.resources[ENDPOINT]
    assert held.dedicated_endpoint_enabled
    assert held.client_connection_config.inference_timeout.total_seconds() == 1800
    assert re.fullmatch(r"natality\.us-central1-\d+\.prediction\.vertexai\.goog", held.dedicated_endpoint_dns)
    assert first.url == f"https://{held.dedicated_endpoint_dns}/v1/{ENDPOINT}:predict"
    # The traffic is split as at any endpoint, and options of a shared one use what exists.
    second = deploy.deploy(replace(config(registered("bbbb"), traffic=20)))
    assert dict(second.traffic) == {first.deployed: 80, second.deployed: 20}
    assert second.url == first.url
    with pytest.raises(UsageError, match="exists with another timeout") as caught:
        deploy.deploy(replace(asked, inference_timeout_s=600))
    assert (caught.value.received, "Set inference_timeout_s = 1800" in str(caught.value.fix)) == ("1800 s", True)


def test_a_shared_endpoint_does_not_become_dedicated(server: VertexServer) -> None:
    shared = deploy.deploy(config(registered("aaaa")))
    assert shared.url == f"https://us-central1-aiplatform.googleapis.com/v1/{ENDPOINT}:predict"
    with pytest.raises(UsageError, match="is not dedicated"):
        deploy.deploy(replace(config(registered("bbbb")), dedicated=True))
    assert [m.id for m in server.vertex.resources[ENDPOINT].deployed_models] == [shared.deployed]


def test_the_service_refuses_a_longer_timeout(server: VertexServer) -> None:
    from google.cloud import aiplatform

    with pytest.raises(Exception, match="at most 3600"):
        aiplatform.Endpoint.create("x", dedicated_endpoint_enabled=True, inference_timeout=3601)
    with pytest.raises(UsageError, match="inference_timeout_s is not valid"):
        replace(config("m"), inference_timeout_s=3601)


def test_a_share_of_the_traffic(server: VertexServer) -> None:
    first = deploy.deploy(config(registered("aaaa"), traffic=20))
    assert dict(first.traffic) == {first.deployed: 100}
    second = deploy.deploy(config(registered("bbbb"), traffic=20))
    assert dict(second.traffic) == {first.deployed: 80, second.deployed: 20}
    assert second.removed == ()


def test_a_canary_leaves_the_live_version_alone_beside_it(server: VertexServer) -> None:
    first, second = (deploy.deploy(config(registered(version))) for version in ("aaaa", "bbbb"))
    third = deploy.deploy(config(registered("cccc"), traffic=0))
    assert (third.removed, third.previous) == ((), second.deployed)
    fourth = deploy.deploy(replace(config(registered("dddd"), traffic=0), replaces_idle=True))
    # Neither the version before the live one nor an earlier canary costs machines any more.
    assert sorted(fourth.removed) == sorted((first.deployed, third.deployed))
    assert dict(fourth.traffic) == {second.deployed: 100, fourth.deployed: 0}


def test_a_task_that_is_tried_again_deploys_nothing_twice(server: VertexServer) -> None:
    deploy.deploy(config(registered("aaaa")))
    model = registered("bbbb")
    once, again = deploy.deploy(config(model, 20)), deploy.deploy(config(model, 20))
    assert once == again
    more = deploy.deploy(config(model, 50))
    assert more.traffic[once.deployed] == 50
    assert len([request for request in server.requests if request.endswith(":deployModel")]) == 2


def test_a_deployment_that_fails_late_is_the_platforms_fault(server: VertexServer) -> None:
    model = registered("aaaa")
    deploy.deploy(config(model))
    model = registered("bbbb")
    server.vertex.failing_operations.append("out of machines")
    with pytest.raises(PlatformError, match="out of machines"):
        deploy.deploy(config(model))
    assert sum(server.vertex.resources[ENDPOINT].traffic_split.values()) == 100


def test_what_is_not_allowed_names_the_role(server: VertexServer) -> None:
    server.fail("GET .*/models/natality", 403, times=10)
    with pytest.raises(UsageError, match=r"roles/aiplatform\.user"):
        registered("aaaa")


@pytest.mark.parametrize(
    ("others", "percent", "expected"),
    [
        ({}, 20, {"0": 100}),
        ({"a": 0}, 20, {"a": 0, "0": 100}),
        ({"a": 100}, 20, {"a": 80, "0": 20}),
        ({"a": 100}, 0, {"a": 100, "0": 0}),
        ({"a": 100}, 100, {"a": 0, "0": 100}),
        ({"a": 50, "b": 50}, 33, {"a": 34, "b": 33, "0": 33}),
        ({"a": 80, "b": 20}, 10, {"a": 72, "b": 18, "0": 10}),
        ({"a": 33, "b": 33, "c": 34}, 1, {"a": 33, "b": 33, "c": 33, "0": 1}),
    ],
)
def test_shares_add_up(others: dict[str, int], percent: int, expected: dict[str, int]) -> None:
    split = deploy.split_traffic(others, "0", percent)
    assert split == expected
    assert sum(split.values()) == 100


def test_names_that_the_service_refuses() -> None:
    with pytest.raises(UsageError, match="registry name is not valid"):
        registered("aaaa", registry=f"{PARENT}/models/birth_weight")
    with pytest.raises(UsageError, match="cannot read the model"):
        registered("aaaa", model_uri="/gcs/my-bucket/model")
    with pytest.raises(UsageError, match="endpoint name is not valid"):
        deploy.VertexDeployConfig("m", "natality", "n1-standard-4")


def test_the_steps_leave_records_for_the_summary(
    server: VertexServer, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    model = dsl.Model(uri=put("run/model/training.json", b'{"model_version": "aaaa"}').rpartition("/")[0])
    judged = put("run/evaluation/evaluation.json", b'{"model_version": "aaaa"}').rpartition("/")[0]
    root = model.uri.rpartition("/run/")[0] + "/root"
    name = registry.run(REGISTRY, root, model, dsl.Artifact(uri=judged), IMAGE, ["champion"], {"team": "growth"}, "")
    assert name == f"{REGISTRY}@1"
    assert server.vertex.versions[REGISTRY]["1"].artifact_uri == model.uri
    record = read_record(root, "register", identity.publish_identity("register", "aaaa", REGISTRY))
    assert record is not None
    assert record["status"] == "succeeded"
    assert record["result"] == {"version": "aaaa", "aliases": {"champion": "aaaa"}}

    endpoint = dsl.Artifact(uri=str(tmp_path / "endpoint"))
    step.run(config(name), root, endpoint)
    record = read_record(root, "deploy", identity.publish_identity("deploy", "aaaa", ENDPOINT))
    assert record is not None
    assert record["result"]["url"] == f"https://us-central1-aiplatform.googleapis.com/v1/{ENDPOINT}:predict"
    assert list(record["result"]["traffic"].values()) == [100]
    assert json.loads(Path(endpoint.path).read_text())["version"] == "aaaa"


def test_an_evaluation_of_another_model_registers_nothing(
    server: VertexServer, put: Callable[[str, bytes], str], capfd: pytest.CaptureFixture[str]
) -> None:
    model = dsl.Model(uri=put("run/model/training.json", b'{"model_version": "aaaa"}').rpartition("/")[0])
    judged = dsl.Artifact(uri=put("run/evaluation/evaluation.json", b'{"model_version": "b"}').rpartition("/")[0])
    with pytest.raises(SystemExit) as ended:
        registry.run(REGISTRY, model.uri, model, judged, IMAGE, ["champion"], {}, "")
    assert ended.value.code == 2
    assert "the evaluation belongs to another model" in capfd.readouterr().out
    assert server.requests == []
