"""The InferenceService: checked against the CRD's schema, applied to a cluster's API, and waited for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kubernetes.client import ApiException
from support.ledgers import REFUSED
from support.registered_models import make_model

from headrace.components.deploy.kserve import deploy, step
from headrace.components.registry.folder.registry import Registry
from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.core.errors import PlatformError, ProblemError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.steps.identity import publish_identity
from headrace.core.steps.step import read_record

SCHEMA = json.loads(Path(__file__).with_name("inference_service.schema.json").read_text())
ENDPOINT = "kserve://models/natality"
IMAGE = f"registry.example.com/headrace/server@sha256:{'3' * 64}"
FULL = deploy.InferenceServiceConfig(
    image=IMAGE,
    service_account="registry-reader",
    accelerator="nvidia.com/gpu",
    accelerator_count=1,
    max_replicas=3,
    traffic=20,
    claim="headrace",
    mount="/mnt/headrace",
    node_selector={"pool": "gpu"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    image_pull_secrets=("registry",),
    labels={"team": "growth"},
)


class Cluster:
    """The API server's side of custom objects: it keeps what it is given, and is ready after some looks."""

    def __init__(self, *, ready_after: int = 2, refuse: int = 0) -> None:
        self.held: dict[str, Any] | None = None
        self.looks = 0
        self.calls: list[str] = []
        self._ready_after, self._refuse = ready_after, refuse

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any:
        assert (group, version, namespace, plural, name) == (
            "serving.kserve.io",
            "v1beta1",
            "models",
            "inferenceservices",
            "natality",
        )
        if self._refuse:
            raise ApiException(status=self._refuse, reason="no")
        if self.held is None:
            raise ApiException(status=404, reason="Not Found")
        self.looks += 1
        ready = self.looks >= self._ready_after
        generation = self.held["metadata"]["generation"]
        status = {
            "url": "http://natality.models.example.com",
            # Before the controller has looked, the status is of the generation before.
            "observedGeneration": generation if ready else generation - 1,
            "conditions": [{"type": "Ready", "status": "True" if ready or generation > 1 else "False", "reason": "R"}],
        }
        return {**self.held, "status": status}

    def create_namespaced_custom_object(self, *address: str) -> Any:
        body: Any = address[-1]
        self.calls.append("create")
        return self._keep(copy.deepcopy(body), 1)

    def patch_namespaced_custom_object(self, *address: str) -> Any:
        body: Any = address[-1]
        self.calls.append("patch")
        assert self.held is not None
        self.looks = 0
        predictor = {k: v for k, v in body["spec"]["predictor"].items() if v is not None}
        return self._keep({**body, "spec": {"predictor": predictor}}, self.held["metadata"]["generation"] + 1)

    def _keep(self, body: Any, generation: int) -> Any:
        jsonschema.validate(body, SCHEMA)
        self.held = {**body, "metadata": {**body["metadata"], "generation": generation}}
        return self.held


def manifest(
    config: deploy.InferenceServiceConfig = FULL, model: str = "/mnt/headrace/registry/n/versions/1"
) -> dict[str, Any]:
    return deploy.manifest(ENDPOINT, model, "0123456789abcdef", config)


def apply(cluster: Cluster, wanted: dict[str, Any], timeout_s: float = 60.0) -> str:
    now = [0.0]
    return deploy.apply(
        cluster,
        wanted,
        timeout_s=timeout_s,
        clock=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )


@pytest.mark.parametrize("config", [deploy.InferenceServiceConfig(IMAGE), FULL])
def test_the_schema_of_the_crd_takes_it(config: deploy.InferenceServiceConfig) -> None:
    jsonschema.validate(manifest(config, "gs://bucket/registry/n/versions/1"), SCHEMA)


def test_the_schema_refuses_what_the_crd_has_not() -> None:
    wrong = manifest()
    wrong["spec"]["predictor"]["canaryTraffic"] = 10
    with pytest.raises(jsonschema.ValidationError, match="canaryTraffic"):
        jsonschema.validate(wrong, SCHEMA)


def test_the_server_writes_the_traffic_log() -> None:
    config = deploy.InferenceServiceConfig(IMAGE, rules="warn", traffic_log="gs://b/traffic")
    (container,) = manifest(config, "gs://b/m")["spec"]["predictor"]["containers"]
    assert container["args"][-4:] == ["--rules", "warn", "--traffic-log", "gs://b/traffic"]
    both = deploy.InferenceServiceConfig(IMAGE, traffic_log="gs://b/traffic", request_log="gs://b/requests")
    assert deploy._options(both) == ("--traffic-log", "gs://b/traffic", "--request-log", "gs://b/requests")


@pytest.mark.parametrize("mode", ["static", "hybrid"])
def test_the_server_answers_from_a_table(mode: str) -> None:
    config = deploy.config_of(
        {"image": IMAGE, "serving": {"mode": mode, "table": "gs://b/t", "cache_rows": 9.0 if mode == "hybrid" else 0.0}}
    )
    found = manifest(config, "gs://b/m")
    jsonschema.validate(found, SCHEMA)
    (container,) = found["spec"]["predictor"]["containers"]
    cache = [{"name": "HEADRACE_CACHE", "value": "9"}] if mode == "hybrid" else []
    assert container["env"] == [
        {"name": "STORAGE_URI", "value": "gs://b/m"},
        {"name": "HEADRACE_MODE", "value": mode},
        {"name": "HEADRACE_TABLE", "value": "gs://b/t"},
        {"name": "HEADRACE_FOLLOW", "value": "30"},
        *cache,
    ]
    # A static server refuses a model.
    assert (container["args"][0] == "/mnt/models") == (mode == "hybrid")
    assert server_options(container).mode == mode


def server_options(container: Any) -> ServeConfig:
    """The options that the server of a container has."""
    variables = {one["name"]: one["value"] for one in container["env"]}
    source = container["args"][:1] if container["args"][0] == "/mnt/models" else [""]
    config = replace(config_from_environment(variables), source=source[0])
    config.check_source()
    return config


def test_a_mode_that_is_not_valid_is_refused() -> None:
    for serving in ({"mode": "fast"}, {"table": "gs://b/t"}, {"speed": 3}):
        with pytest.raises(ProblemError):
            deploy.config_of({"image": IMAGE, "serving": serving})


def test_the_server_is_started_in_the_mode_of_rules() -> None:
    (container,) = manifest(deploy.InferenceServiceConfig(IMAGE, rules="warn"), "gs://b/m")["spec"]["predictor"][
        "containers"
    ]
    assert container["args"][-2:] == ["--rules", "warn"]
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        deploy.InferenceServiceConfig(IMAGE, rules="off")  # type: ignore[arg-type]


def test_the_manifest_says_all_that_was_asked() -> None:
    predictor = manifest()["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert container["image"] == IMAGE
    assert container["env"] == [{"name": "STORAGE_URI", "value": "pvc://headrace/registry/n/versions/1"}]
    assert container["args"] == ["/mnt/models", "--name", "natality", "--host", "0.0.0.0", "--port", "8080"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert predictor["canaryTrafficPercent"] == 20
    assert predictor["serviceAccountName"] == "registry-reader"
    assert predictor["nodeSelector"] == {"pool": "gpu"}
    assert predictor["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert predictor["imagePullSecrets"] == [{"name": "registry"}]
    assert manifest()["metadata"]["annotations"]["headrace.dev/model-version"] == "0123456789abcdef"
    assert "canaryTrafficPercent" not in manifest(deploy.InferenceServiceConfig(IMAGE), "gs://b/m")["spec"]["predictor"]


def test_it_is_made_and_then_changed() -> None:
    cluster = Cluster()
    assert apply(cluster, manifest()) == "http://natality.models.example.com"
    whole = manifest(deploy.InferenceServiceConfig(IMAGE), "gs://bucket/registry/n/versions/2")
    assert apply(cluster, whole) == "http://natality.models.example.com"
    assert cluster.calls == ["create", "patch"]
    assert cluster.held is not None
    # The share that the revision before had asked for is gone.
    assert "canaryTrafficPercent" not in cluster.held["spec"]["predictor"]
    # The word of the revision before is not taken for this one's.
    assert cluster.looks == 2


def test_one_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    with pytest.raises(PlatformError, match="was not ready within 60 s") as caught:
        apply(Cluster(ready_after=1000), manifest())
    assert caught.value.fix == "kubectl describe inferenceservice natality --namespace models"


@pytest.mark.parametrize(
    ("status", "kind", "what"),
    [
        (403, UsageError, "is not allowed to apply"),
        (422, UsageError, "KServe rejected"),
        (500, PlatformError, "failed or did not respond"),
    ],
)
def test_what_a_cluster_refuses(status: int, kind: type[Exception], what: str) -> None:
    with pytest.raises(kind, match=what):
        apply(Cluster(refuse=status), manifest())


@pytest.mark.parametrize("endpoint", ["natality", "kserve://models", "kserve://Models/n", f"kserve://m/{'n' * 41}"])
def test_names_that_are_none(endpoint: str) -> None:
    with pytest.raises(UsageError, match="endpoint name is not valid"):
        deploy.names_of(endpoint)


def test_a_model_that_the_server_cannot_reach() -> None:
    for model in ("/elsewhere/model", "/mnt/headrace-other/model"):
        with pytest.raises(UsageError, match="cannot reach the model"):
            deploy.storage_uri(model, FULL)


def test_settings_of_a_task() -> None:
    # Numbers come through a protobuf, in which all are floating.
    settings = {"image": IMAGE, "traffic": 20.0, "image_pull_secrets": ["registry"]}
    assert deploy.config_of(settings) == deploy.InferenceServiceConfig(
        IMAGE, traffic=20, image_pull_secrets=("registry",)
    )
    with pytest.raises(UsageError, match="settings are not valid"):
        deploy.config_of({"image": IMAGE, "trafic": 20})


@pytest.mark.parametrize(("refused", "error"), REFUSED)
def test_a_run_that_may_not_begin_deploys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[str], Claim], error: str
) -> None:
    cluster, root = Cluster(), str(tmp_path / "root")
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    monkeypatch.setattr("kubernetes.client.CustomObjectsApi", lambda: cluster)
    registry = Registry(str(tmp_path / "registry"))
    registry.register(make_model(tmp_path / "model", "v1"))
    claim = refused(str(tmp_path / "ledger")).to_json()
    settings = {"image": IMAGE, "claim": "headrace", "mount": str(tmp_path)}
    with pytest.raises(SystemExit):
        step.run(registry.path("v1"), ENDPOINT, root, object(), settings, claim)
    record = read_record(root, "deploy", publish_identity("deploy", "v1", ENDPOINT))
    assert record is not None
    assert record["error"]["what"] == error
    assert cluster.calls == []
