"""Deployment to KServe: an InferenceService whose predictor is our server, applied and waited for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity
from headrace.core.steps.step import running

_ENDPOINT = re.compile(r"kserve://([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/([a-z]([-a-z0-9]{0,38}[a-z0-9])?)\Z")
_GROUP, _VERSION, _PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
# Where KServe's storage initializer leaves what STORAGE_URI names.
_MOUNTED = "/mnt/models"
_PORT = 8080
_SECONDS_BETWEEN_LOOKS = 5.0
_ANNOTATION = "headrace.dev/model-version"


@dataclass(frozen=True)
class ServiceConfig:
    """The server of an InferenceService.

    Attributes:
        image: our serving image.
        service_account: of its pods, which may read the registry; "" for the namespace's own.
        cpu, memory: of each replica, requested and at most.
        accelerator, accelerator_count: a resource such as nvidia.com/gpu, and how many.
        min_replicas, max_replicas: 0 at least lets KServe take away a server that nobody calls.
        traffic: percent of the requests that this revision gets; where all do, the field is left out.
        mode: Serverless (Knative) or Standard (a plain Deployment, which knows no shares of traffic).
        claim, mount: a PersistentVolumeClaim, and where the registry's path has it; "" for gs://.
        node_selector: labels of the nodes.
        tolerations: taints that are no hindrance, as Kubernetes has them.
        image_pull_policy, image_pull_secrets: as Kubernetes has them.
        labels: of the InferenceService.
        timeout_minutes: until it answers.
    """

    image: str
    service_account: str = ""
    cpu: str = "1"
    memory: str = "2Gi"
    accelerator: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    traffic: int = 100
    mode: str = "Serverless"
    claim: str = ""
    mount: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_minutes: int = 15


class Services(Protocol):
    """The InferenceServices of a cluster, as `kubernetes.client.CustomObjectsApi` has them."""

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any: ...

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: Any
    ) -> Any: ...

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> Any: ...


def config_of(settings: Mapping[str, Any]) -> ServiceConfig:
    """The server, from what a pipeline's task is given: JSON's lists, and numbers that came through a protobuf.

    Raises:
        UsageError: a setting that there is not, or one that is missing.
    """
    whole = {key: int(value) if isinstance(value, float) else value for key, value in settings.items()}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in whole.items()}
    try:
        return ServiceConfig(**values)
    except TypeError as error:
        raise UsageError("the server's settings are wrong", where="settings", received=str(error)) from error


def names_of(endpoint: str) -> tuple[str, str]:
    """Namespace and name of kserve://NAMESPACE/NAME.

    Raises:
        UsageError: it is none; a name has 40 characters at most, for KServe makes host names of it.
    """
    found = _ENDPOINT.match(endpoint)
    if found is None:
        raise UsageError(
            "the endpoint's name is wrong",
            where="endpoint",
            expected="kserve://NAMESPACE/NAME in a-z, 0-9 and -, the name 40 characters at most",
            received=repr(endpoint),
        )
    return found[1], found[3]


def manifest(endpoint: str, model: str, model_version: str, config: ServiceConfig) -> dict[str, Any]:
    """The InferenceService that serves a Model.

    Args:
        endpoint: kserve://NAMESPACE/NAME.
        model: the Model, on gs:// or below `config.mount`.
        model_version: its version.
        config: the server.

    Raises:
        UsageError: a name that is wrong, or a model that the server's pods cannot reach.
    """
    namespace, name = names_of(endpoint)
    resources = {"cpu": config.cpu, "memory": config.memory}
    if config.accelerator:
        resources[config.accelerator] = str(config.accelerator_count)
    predictor: dict[str, Any] = {
        "minReplicas": config.min_replicas,
        "maxReplicas": config.max_replicas,
        "containers": [
            {
                "name": "kserve-container",
                "image": config.image,
                "imagePullPolicy": config.image_pull_policy,
                "command": ["python", "-m", "headrace.components.serve.server"],
                "args": [_MOUNTED, "--name", name, "--host", "0.0.0.0", "--port", str(_PORT)],  # noqa: S104
                "env": [{"name": "STORAGE_URI", "value": storage_uri(model, config)}],
                "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": _PORT}, "periodSeconds": 5},
                "resources": {"requests": resources, "limits": resources},
            }
        ],
    }
    if config.traffic < 100:
        predictor["canaryTrafficPercent"] = config.traffic
    if config.service_account:
        predictor["serviceAccountName"] = config.service_account
    if config.node_selector:
        predictor["nodeSelector"] = dict(config.node_selector)
    if config.tolerations:
        predictor["tolerations"] = [dict(one) for one in config.tolerations]
    if config.image_pull_secrets:
        predictor["imagePullSecrets"] = [{"name": secret} for secret in config.image_pull_secrets]
    return {
        "apiVersion": f"{_GROUP}/{_VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(config.labels),
            "annotations": {"serving.kserve.io/deploymentMode": config.mode, _ANNOTATION: model_version},
        },
        "spec": {"predictor": predictor},
    }


def storage_uri(model: str, config: ServiceConfig) -> str:
    """Where KServe's storage initializer finds a Model.

    Raises:
        UsageError: it is neither in a bucket nor below the claim's mount.
    """
    if storage.is_remote(model):
        return model
    mount = config.mount.rstrip("/")
    if config.claim and mount and model.startswith(f"{mount}/"):
        return f"pvc://{config.claim}{model.removeprefix(mount)}"
    raise UsageError(
        "the server cannot reach the model",
        where="model",
        expected="gs://..., or a path below the claim's mount",
        received=model,
    )


def apply(
    services: Services,
    wanted: Mapping[str, Any],
    *,
    timeout_s: float,
    report: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Creates or changes an InferenceService, and waits until the cluster serves it.

    Returns:
        Where it answers.

    Raises:
        UsageError: not allowed, no KServe in the cluster, or a manifest that it refuses.
        PlatformError: it did not answer in time.
    """
    from kubernetes.client import ApiException

    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    where = f"InferenceService {namespace}/{name}"
    address = (_GROUP, _VERSION, namespace, _PLURAL)
    try:
        try:
            services.get_namespaced_custom_object(*address, name)
        except ApiException as error:
            if error.status != 404:
                raise
            applied = services.create_namespaced_custom_object(*address, dict(wanted))
        else:
            # A merge keeps what is not named: a share of the traffic that this revision does not ask for goes by null.
            predictor = {"canaryTrafficPercent": None, **wanted["spec"]["predictor"]}
            applied = services.patch_namespaced_custom_object(
                *address, name, {**wanted, "spec": {"predictor": predictor}}
            )
        generation = applied["metadata"].get("generation", 0)
        ends = clock() + timeout_s
        while True:
            status = services.get_namespaced_custom_object(*address, name).get("status", {})
            ready: dict[str, str] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
            if ready.get("status") == "True" and status.get("observedGeneration", generation) >= generation:
                return str(status.get("url", ""))
            if clock() > ends:
                raise PlatformError(
                    f"it did not answer within {timeout_s:.0f} s",
                    where=where,
                    received=ready.get("message") or ready.get("reason") or "nothing said",
                    fix=f"kubectl describe inferenceservice {name} --namespace {namespace}",
                )
            report(f"waiting for {where}: {ready.get('reason') or 'no word yet'}")
            sleep(_SECONDS_BETWEEN_LOOKS)
    except ApiException as error:
        raise _refused(error, where) from error


def _refused(error: Any, where: str) -> UsageError | PlatformError:
    received = f"{error.status} {error.reason}"
    if error.status == 404:
        return UsageError(
            "the cluster has no KServe, or not this namespace", where=where, received=received, fix="Install KServe"
        )
    if error.status in (401, 403):
        return UsageError(
            "the pipeline's service account may not apply it",
            where=where,
            received=received,
            fix=f"Give it a Role with get, create and patch on {_PLURAL}.{_GROUP}",
        )
    if error.status in (400, 422):
        return UsageError("KServe refuses the InferenceService", where=where, received=f"{received}: {error.body}")
    return PlatformError("the cluster did not answer as it should", where=where, received=received)


def run(model: str, endpoint_name: str, root: str, endpoint: Any, settings: Mapping[str, Any]) -> None:
    """Does the work of `kserve_component.deploy`, whose docstring says what the arguments are."""
    with running("deploy", root=root) as step:
        version = identity.model_version_of(model)
        step.identity = identity.publish_identity("deploy", version, endpoint_name)
        config = config_of(settings)
        wanted = manifest(endpoint_name, model, version, config)
        with step.importing():
            from kubernetes import client
            from kubernetes import config as cluster
        try:
            cluster.load_incluster_config()
        except cluster.ConfigException as error:
            raise UsageError(
                "this is not a pod of a cluster", where="deploy", received=str(error), fix="Run it as a pipeline's task"
            ) from error
        url = apply(client.CustomObjectsApi(), wanted, timeout_s=config.timeout_minutes * 60.0, report=step.progress)
        what = {"version": version, "url": url, "traffic": config.traffic, "manifest": wanted}
        storage.write_json(endpoint.path, what)
        endpoint.metadata.update(version=version, url=url, traffic=config.traffic)
        step.finish(
            outputs={"endpoint": endpoint_name}, result={key: what[key] for key in ("version", "url", "traffic")}
        )
