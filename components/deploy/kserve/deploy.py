"""KServe deployment: applies an InferenceService with headrace's server, and waits until it is ready."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy.kserve.canary import canary_entry, check_kept, first, patch, renamed
from headrace.components.deploy.kserve.installed import KserveFeatures, fitted
from headrace.components.deploy.kserve.service import (
    API_VERSION,
    GROUP,
    KNATIVE,
    MODE,
    PLURAL,
    Services,
    mode_of,
    translate_errors,
    wait,
)
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.serving_mode import serving_of

_ENDPOINT = re.compile(r"kserve://([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/([a-z]([-a-z0-9]{0,38}[a-z0-9])?)\Z")
# Folder to which KServe's storage initializer copies the files of STORAGE_URI.
_MOUNTED = "/mnt/models"
_PORT = 8080
VERSION = "headrace.dev/model-version"


@dataclass(frozen=True)
class InferenceServiceConfig:
    """The server of an InferenceService.

    Attributes:
        image: headrace's serving image.
        service_account: service account of its pods, with read access to the registry; "" for the namespace's default.
        cpu, memory: CPU and memory of each replica, as request and limit, in the notation of Kubernetes.
        accelerator, accelerator_count: a resource such as nvidia.com/gpu, and the number of devices; "" for none.
        min_replicas, max_replicas: bounds of autoscaling. With a minimum of 0, KServe scales an idle server to zero.
        traffic: percentage of the requests for this version, 0 to 100; the manifest omits 100.
        mode: one of `service.MODES`: Serverless or Knative, which split traffic by canaryTrafficPercent; or
            RawDeployment or Standard, a plain Deployment, which splits it by spec.canary (KServe 0.20 or later).
        claim, mount: a PersistentVolumeClaim, and its mount path within the registry's path; "" for a bucket.
        node_selector: labels of the nodes.
        tolerations: tolerations of taints, in the form of Kubernetes.
        image_pull_policy, image_pull_secrets: in the form of Kubernetes.
        labels: labels of the InferenceService.
        timeout_minutes: maximum time until it is ready, in minutes.
        rules: "enforce" refuses rows that break the Model's rules; "warn" predicts and counts those whose values are
            out of bounds or unknown.
        traffic_log: URI to which each server writes its counts of requests, for canaries; "" for no counts.
        request_log: URI to which each server logs a sample of its requests, for their replay; "" for no log.
        serving: mode, table and cache_rows of the servers; {} for those that the Model's Problem declares.

    Raises:
        UsageError: the rules or the serving mode are not valid.
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
    rules: Mode = "enforce"
    traffic_log: str = ""
    request_log: str = ""
    serving: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_mode(self.rules, where="rules")
        serving_of(self.serving)


def config_of(settings: Mapping[str, Any]) -> InferenceServiceConfig:
    """The InferenceServiceConfig of a task's input, with JSON lists, and integers that protobuf stored as floats.

    Raises:
        UsageError: a setting is unknown, missing or not valid.
    """
    whole = {key: int(value) if isinstance(value, float) else value for key, value in settings.items()}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in whole.items()}
    try:
        return InferenceServiceConfig(**values)
    except TypeError as error:
        raise UsageError("the server settings are not valid", where="settings", received=str(error)) from error


def names_of(endpoint: str) -> tuple[str, str]:
    """Splits kserve://NAMESPACE/NAME into namespace and name.

    Raises:
        UsageError: the name is not valid. It may have at most 40 characters, because KServe derives host names from it.
    """
    found = _ENDPOINT.match(endpoint)
    if found is None:
        raise UsageError(
            "the endpoint name is not valid",
            where="endpoint",
            expected="kserve://NAMESPACE/NAME in a-z, 0-9 and -, NAME at most 40 characters",
            received=repr(endpoint),
        )
    return found[1], found[3]


def manifest(endpoint: str, model: str, model_version: str, config: InferenceServiceConfig) -> dict[str, Any]:
    """The manifest of an InferenceService that serves a Model.

    Args:
        endpoint: kserve://NAMESPACE/NAME.
        model: URI of the Model in a bucket, or its path below `config.mount`.
        model_version: version of the Model.
        config: options of the server.

    Raises:
        UsageError: the name is not valid, or the server's pods cannot reach the model.
    """
    namespace, name = names_of(endpoint)
    resources = {"cpu": config.cpu, "memory": config.memory}
    if config.accelerator:
        resources[config.accelerator] = str(config.accelerator_count)
    serving = serving_of(config.serving)
    environment = {
        "STORAGE_URI": storage_uri(model, config),
        **({} if serving is None else serving.variables),
    }
    # A static server reads only a table. Its Model is mounted nevertheless, because rollbacks identify versions by it.
    source = () if serving is not None and serving.mode == "static" else (_MOUNTED,)
    predictor: dict[str, Any] = {
        "minReplicas": config.min_replicas,
        "maxReplicas": config.max_replicas,
        "containers": [
            {
                "name": "kserve-container",
                "image": config.image,
                "imagePullPolicy": config.image_pull_policy,
                "command": ["python", "-m", "headrace.components.serve.server"],
                "args": [*source, "--name", name, "--host", "0.0.0.0", "--port", str(_PORT), *_options(config)],  # noqa: S104
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": _PORT}, "periodSeconds": 5},
                "resources": {"requests": resources, "limits": resources},
            }
        ],
    }
    knative = mode_of(config.mode) == KNATIVE
    if config.traffic < 100 and knative:
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
        "apiVersion": f"{GROUP}/{API_VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(config.labels),
            "annotations": {MODE: config.mode, VERSION: model_version},
        },
        "spec": {"predictor": predictor}
        if config.traffic == 100 or knative
        else {"canary": [canary_entry(predictor, model_version, config.traffic)]},
    }


def _options(config: InferenceServiceConfig) -> tuple[str, ...]:
    rules = () if config.rules == "enforce" else ("--rules", config.rules)
    logs = (("--traffic-log", config.traffic_log), ("--request-log", config.request_log))
    return (*rules, *(part for option, uri in logs if uri for part in (option, uri)))


def storage_uri(model: str, config: InferenceServiceConfig) -> str:
    """The URI of a Model for KServe's storage initializer.

    Raises:
        UsageError: the Model is neither in a bucket nor below the claim's mount.
    """
    if storage.is_remote(model):
        return model
    mount = config.mount.rstrip("/")
    if config.claim and mount and model.startswith(f"{mount}/"):
        return f"pvc://{config.claim}{model.removeprefix(mount)}"
    raise UsageError(
        "the server cannot reach the model",
        where="model",
        expected="gs://..., s3://..., or a path below the claim's mount",
        received=model,
    )


def apply(
    services: Services,
    wanted: Mapping[str, Any],
    *,
    timeout_s: float,
    known: KserveFeatures | None = None,
    report: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Creates or updates an InferenceService, and waits until it is ready.

    Args:
        services: client of the cluster.
        wanted: the manifest.
        timeout_s: maximum time until it is ready, in seconds.
        known: features of the cluster's KServe; None if they are unknown.
        report: receives progress.
        clock, sleep: clock and wait, in seconds.

    Returns:
        URL of the InferenceService.

    Raises:
        UsageError: access is denied, the cluster has no KServe or one without a required feature, or it rejected the
            manifest.
        PlatformError: the cluster failed, or the InferenceService was not ready in time.
    """
    from kubernetes.client import ApiException

    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    where = f"InferenceService {namespace}/{name}"
    address = (GROUP, API_VERSION, namespace, PLURAL)
    wanted = fitted(wanted, known or KserveFeatures(), where)
    with translate_errors(where):
        try:
            held = services.get_namespaced_custom_object(*address, name)
        except ApiException as error:
            if error.status != 404:
                raise
            applied = services.create_namespaced_custom_object(*address, first(wanted))
        else:
            applied = services.patch_namespaced_custom_object(*address, name, patch(renamed(wanted, held)))
            check_kept(wanted, applied, where)
        return wait(services, namespace, name, applied, timeout_s=timeout_s, report=report, clock=clock, sleep=sleep)
