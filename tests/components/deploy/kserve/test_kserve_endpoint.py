"""An InferenceService as KServe's releases treat it: canaries of both kinds, and the names of modes."""

from __future__ import annotations

from typing import Any

import pytest
from peers.kserve_cluster import KserveCluster

from headrace.components.deploy.kserve import deploy
from headrace.components.deploy.kserve.canary import canary_entry, canary_name
from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint
from headrace.components.registry.state import Origin
from headrace.components.rollback.rollback import rollback
from headrace.core.errors import DataError, UsageError

NAME = "kserve://models/natality"
IMAGE = f"registry.example.com/headrace/server@sha256:{'3' * 64}"
BY = Origin("sre@host", "2026-01-01T00:00:00+00:00")


def model(version: str) -> str:
    return f"gs://bucket/registry/natality/versions/{version}/0123"


def add(cluster: KserveCluster, version: str, percent: int, mode: str, **options: Any) -> None:
    config = deploy.InferenceServiceConfig(IMAGE, traffic=percent, mode=mode, **options)
    wanted = deploy.manifest(NAME, model(version), version, config)
    deploy.apply(cluster, wanted, timeout_s=60.0, clock=lambda: 0.0, sleep=lambda _: None)
    endpoint(cluster).record(BY)


def endpoint(cluster: KserveCluster) -> KserveEndpoint:
    return KserveEndpoint(NAME, cluster, clock=lambda: 0.0, sleep=lambda _: None)


@pytest.fixture(autouse=True)
def without_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KserveEndpoint, "registry", lambda _: "")


def test_a_canary_of_the_standard_mode_is_an_entry_of_its_own() -> None:
    cluster = KserveCluster()
    add(cluster, "v1", 100, "Standard", max_replicas=3)
    add(cluster, "v2", 20, "Standard", max_replicas=3)
    assert cluster.held is not None
    (entry,) = cluster.held["spec"]["canary"]
    assert (entry["trafficPercent"], entry["predictor"]["name"]) == (20, "v-v2")
    assert "canaryTrafficPercent" not in cluster.held["spec"]["predictor"]
    assert cluster.served() == {model("v1"): 80, model("v2"): 20}
    add(cluster, "v2", 50, "Standard")
    assert cluster.served() == {model("v1"): 50, model("v2"): 50}
    # Promoted without a restart: the predictor takes the canary's name.
    endpoint(cluster).promote("v2", BY, lambda *_, **__: None)
    assert cluster.held["spec"]["predictor"]["name"] == "v-v2"
    assert "canary" not in cluster.held["spec"]
    assert cluster.served() == {model("v2"): 100}


def test_a_canary_loses_its_traffic_before_the_stable_model_is_served_again() -> None:
    cluster = KserveCluster()
    add(cluster, "v1", 100, "Serverless")
    add(cluster, "v2", 20, "Serverless")
    cluster.patches.clear()
    rollback(endpoint(cluster))
    first, second = [one["spec"]["predictor"] for one in cluster.patches if "spec" in one]
    assert first == {"canaryTrafficPercent": 0}
    assert second["canaryTrafficPercent"] is None
    assert second["containers"][0]["env"] == [{"name": "STORAGE_URI", "value": model("v1")}]
    assert cluster.served() == {model("v1"): 100}
    # The next canary begins from the version that was rolled back to.
    add(cluster, "v3", 10, "Serverless")
    assert cluster.served() == {model("v1"): 90, model("v3"): 10}


def test_a_version_that_is_rolled_out_is_left_by_serving_the_one_before() -> None:
    cluster = KserveCluster()
    add(cluster, "v1", 100, "Serverless")
    add(cluster, "v2", 100, "Serverless")
    cluster.patches.clear()
    rollback(endpoint(cluster))
    # canaryTrafficPercent 0 would leave the traffic where it is: v2 is the revision that is rolled out.
    assert [one["spec"]["predictor"]["canaryTrafficPercent"] for one in cluster.patches if "spec" in one] == [None]
    assert cluster.served() == {model("v1"): 100}
    assert endpoint(cluster).state().previous is None


def test_a_cluster_before_0_20_drops_the_canary_and_is_found_out() -> None:
    cluster = KserveCluster(release=19)
    add(cluster, "v1", 100, "Standard")
    with pytest.raises(UsageError, match=r"has no spec\.canary\. Expected KServe 0\.20 or later"):
        add(cluster, "v2", 20, "Standard")
    assert cluster.served() == {model("v1"): 100}


def test_a_cluster_before_0_16_knows_rawdeployment() -> None:
    with pytest.raises(UsageError, match=r'in another mode.*Received: Serverless.*mode = "RawDeployment"'):
        add(KserveCluster(release=15), "v1", 100, "Standard")
    cluster = KserveCluster()
    add(cluster, "v1", 100, "RawDeployment")
    assert cluster.served() == {model("v1"): 100}


@pytest.mark.parametrize(
    ("version", "name"), [("0a", "v-0a"), ("V_1.2", "v-v-1-2"), ("a" * 64, f"v-{'a' * 38}"), ("x.", "v-x")]
)
def test_names_of_canaries(version: str, name: str) -> None:
    assert canary_name(version) == name


def test_an_entry_has_no_more_replicas_than_the_stable_version() -> None:
    predictor = {"minReplicas": 3, "maxReplicas": 5, "containers": []}
    assert canary_entry(predictor, "v2", 0) == {
        "predictor": {"minReplicas": 1, "containers": [], "name": "v-v2"},
        "trafficPercent": 0,
    }


def test_an_endpoint_that_is_not_there_or_damaged() -> None:
    cluster = KserveCluster()
    with pytest.raises(UsageError, match="the endpoint does not exist"):
        endpoint(cluster).state()
    add(cluster, "v1", 100, "Standard")
    assert cluster.held is not None
    cluster.held["metadata"]["annotations"]["headrace.dev/endpoint"] = "{"
    with pytest.raises(DataError, match=r"the annotation headrace\.dev/endpoint is damaged"):
        endpoint(cluster).state()
