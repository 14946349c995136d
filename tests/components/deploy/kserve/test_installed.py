"""What a cluster's KServe knows, as its API server says it to the client, and deployments that follow it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration, CustomObjectsApi
from peers.kserve_api import KserveApi
from peers.kserve_cluster import KserveCluster

from headrace.components.deploy.kserve import deploy
from headrace.components.deploy.kserve.installed import KserveFeatures, installed
from headrace.components.deploy.kserve.service import ClusterServices
from headrace.core.errors import PlatformError, UsageError

NAME = "kserve://models/natality"
IMAGE = f"registry.example.com/headrace/server@sha256:{'3' * 64}"
SCHEMA, GROUPS = "/openapi/v3/apis/serving.kserve.io/v1beta1", "/apis"


def wanted(version: str, mode: str, percent: int = 100) -> dict[str, Any]:
    config = deploy.InferenceServiceConfig(IMAGE, traffic=percent, mode=mode)
    return deploy.manifest(NAME, f"gs://bucket/registry/natality/versions/{version}/0123", version, config)


def deployed(services: Any, manifest: dict[str, Any]) -> str:
    known = installed(services.api_client)
    return deploy.apply(
        ClusterServices(services), manifest, known=known, timeout_s=60, clock=lambda: 0.0, sleep=lambda _: None
    )


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"release": 20}, KserveFeatures(canary=True, new_names=True, knative=True)),
        ({"release": 16}, KserveFeatures(canary=False, new_names=True, knative=True)),
        ({"release": 15, "knative": False}, KserveFeatures(canary=False, new_names=False, knative=False)),
        ({"small": True}, KserveFeatures(knative=True)),
        ({"forbidden": (SCHEMA, GROUPS)}, KserveFeatures()),
    ],
)
def test_what_a_cluster_says(options: dict[str, Any], known: KserveFeatures) -> None:
    with KserveApi(KserveCluster(), **options).running() as services:
        assert installed(services.api_client) == known


@pytest.mark.parametrize("release", [15, 16, 20])
@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("RawDeployment", ("RawDeployment", "Standard")),
        ("Standard", ("RawDeployment", "Standard")),
        ("Serverless", ("Serverless", "Knative")),
        ("Knative", ("Serverless", "Knative")),
    ],
)
def test_a_mode_by_either_name_is_the_cluster_s(release: int, mode: str, names: tuple[str, str]) -> None:
    cluster = KserveCluster(release=release)
    with KserveApi(cluster, release=release).running() as services:
        assert deployed(services, wanted("v1", mode)) == "http://natality.models.example.com"
    assert cluster.held is not None
    assert cluster.held["status"]["deploymentMode"] == names[release > 15]


def test_versions_are_patched_as_custom_resources_are() -> None:
    cluster = KserveCluster()
    api = KserveApi(cluster)
    with api.running() as services:
        deployed(services, wanted("v1", "Standard"))
        deployed(services, wanted("v2", "Standard", 20))
    assert api.content_types == ["application/json", "application/merge-patch+json"]
    assert [percent for _, percent in sorted(cluster.served().items())] == [80, 20]


def test_a_canary_that_kserve_does_not_have_is_refused_before_anything_changes() -> None:
    cluster = KserveCluster(release=19)
    api = KserveApi(cluster, release=19)
    with api.running() as services:
        deployed(services, wanted("v1", "Standard"))
        with pytest.raises(UsageError, match=r"the cluster's KServe has no spec\.canary"):
            deployed(services, wanted("v2", "Standard", 20))
    assert cluster.patches == []


def test_a_cluster_without_knative() -> None:
    cluster = KserveCluster()
    with (
        KserveApi(cluster, knative=False).running() as services,
        pytest.raises(UsageError, match="the cluster has no Knative Serving"),
    ):
        deployed(services, wanted("v1", "Serverless"))
    assert cluster.held is None


def test_a_cluster_that_does_not_say_is_tried() -> None:
    assert KserveFeatures().unknown == (
        "the fields of InferenceServices, the names of the modes, whether it has Knative Serving"
    )
    assert KserveFeatures(canary=True, new_names=True, knative=False).unknown == ""
    cluster = KserveCluster(release=15)
    with (
        KserveApi(cluster, release=15, forbidden=(SCHEMA, GROUPS)).running() as services,
        pytest.raises(UsageError, match="in another mode"),
    ):
        deployed(services, wanted("v1", "Standard"))


def test_an_api_server_that_fails() -> None:
    api = KserveApi(KserveCluster())
    api.fail("openapi", 500)
    with api.running() as services, pytest.raises(PlatformError, match="failed or did not respond"):
        installed(services.api_client)


def test_a_canary_of_a_version_whose_name_the_stable_predictor_has() -> None:
    """It was promoted once, and another version was then served in its place."""
    from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint
    from headrace.components.registry.state import Origin

    cluster = KserveCluster()
    by = Origin("sre@host", "2026-01-01T00:00:00+00:00")
    with KserveApi(cluster).running() as services:
        endpoint = KserveEndpoint(NAME, services, clock=lambda: 0.0, sleep=lambda _: None)
        deployed(services, wanted("v1", "Standard"))
        deployed(services, wanted("v2", "Standard", 20))
        endpoint.promote("v2", by, lambda *_, **__: None)
        deployed(services, wanted("v3", "Standard"))
        deployed(services, wanted("v2", "Standard", 20))
        assert cluster.held is not None
        assert cluster.held["spec"]["predictor"]["name"] == "v-v2"
        (entry,) = cluster.held["spec"]["canary"]
        assert entry["predictor"]["name"] == "v-v2-2"
        endpoint.promote("v2", by, lambda *_, **__: None)
    assert cluster.held["spec"]["predictor"]["name"] == "v-v2-2"
    assert [percent for _, percent in sorted(cluster.served().items())] == [100]


def test_an_api_server_that_is_not_there() -> None:
    with KserveApi(KserveCluster()).running() as services:
        pass
    with pytest.raises(PlatformError, match="failed or did not respond"):
        deployed(services, wanted("v1", "Standard"))


def test_an_api_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration = Configuration(host=f"http://127.0.0.1:{silent.getsockname()[1]}")
        configuration.retries = False
        services = CustomObjectsApi(ApiClient(configuration))
        with pytest.raises(PlatformError, match="failed or did not respond"):
            installed(services.api_client, timeout_s=0.1)
        with pytest.raises(PlatformError, match="failed or did not respond"):
            deploy.apply(ClusterServices(services, timeout_s=0.1), wanted("v1", "Standard"), timeout_s=60)
