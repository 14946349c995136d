"""Vertex AI deployment: deploys a model once, with a given percentage of the endpoint's traffic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.api_core import exceptions as api

from headrace.core.cloud import errors
from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress, silent

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/endpoints/[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
# The key of the model being deployed in a request's traffic split.
_THIS = "0"
ROLE = "roles/aiplatform.user"


def check_name(endpoint: str) -> None:
    """Checks the resource name of an endpoint.

    Raises:
        UsageError: the name is not valid.
    """
    if not _NAME.match(endpoint):
        raise UsageError(
            "the endpoint name is not valid",
            where="endpoint",
            expected="projects/PROJECT/locations/REGION/endpoints/ID, the id in a-z, 0-9 and -",
            received=repr(endpoint),
        )


@dataclass(frozen=True)
class VertexDeployConfig:
    """Options of a deployment. Other fields as the arguments of `component.deploy`.

    Args:
        replaces_idle: whether deployments without traffic are undeployed even if the new one does not get all traffic.
            It removes the deployments of earlier canaries.

    Raises:
        UsageError: the endpoint's name, the traffic, the timeout or the numbers of replicas are not valid.
    """

    model: str
    endpoint: str
    machine_type: str
    traffic: int = 100
    min_replicas: int = 1
    max_replicas: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    accelerator: str = ""
    accelerator_count: int = 0
    service_account: str = ""
    encryption_key: str = ""
    timeout_minutes: int = 60
    dedicated: bool = False
    inference_timeout_s: int = 600
    replaces_idle: bool = False

    def __post_init__(self) -> None:
        check_name(self.endpoint)
        if not 1 <= self.inference_timeout_s <= 3600:
            raise UsageError(
                "inference_timeout_s is not valid", expected="1 to 3600", received=str(self.inference_timeout_s)
            )
        if not 0 <= self.traffic <= 100:
            raise UsageError("traffic is not valid", expected="a percentage, 0 to 100", received=str(self.traffic))
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise UsageError(
                "the numbers of replicas are not valid",
                expected="1 <= min_replicas <= max_replicas",
                received=str(self.min_replicas),
            )


@dataclass(frozen=True)
class VertexDeployResult:
    """Result of a deployment.

    Attributes:
        deployed: id of the deployment.
        traffic: percentage of the requests by id of deployment.
        previous: id of the other deployment with the most traffic before; None if none had traffic.
        removed: ids of deployments that were undeployed.
        url: URL of predictions; "" if it is not known yet.
    """

    deployed: str
    traffic: Mapping[str, int]
    previous: str | None
    removed: tuple[str, ...] = ()
    url: str = ""


def predict_url(endpoint: Any) -> str:
    """URL of predictions; "" if it is not known yet. A dedicated endpoint accepts requests only at its own host.

    Args:
        endpoint: an Endpoint of google.cloud.aiplatform.
    """
    name = str(endpoint.resource_name)
    shared_host = f"{name.split('/')[3]}-aiplatform.googleapis.com"
    host = endpoint.dedicated_endpoint_dns if endpoint.dedicated_endpoint_enabled else shared_host
    return f"https://{host.removeprefix('https://')}/v1/{name}:predict" if host else ""


def deploy(config: VertexDeployConfig, report: Progress = silent) -> VertexDeployResult:
    """Deploys a model, unless it is already deployed, and splits the traffic.

    Raises:
        UsageError: access is denied, the quota is exceeded, the request is not valid, or the existing endpoint is not
            dedicated as configured.
        PlatformError: the service failed, or the deployment did not finish in time.
    """
    from google.cloud import aiplatform

    with errors.translate_errors("Vertex AI", config.endpoint, ROLE):
        endpoint = _endpoint(config, report)
        _check_kind(config, endpoint)
        before = dict(endpoint.traffic_split)
        parent, _, version = config.model.partition("@")
        deployed = endpoint.list_models()
        mine = next(
            (d.id for d in deployed if (d.model.partition("@")[0], d.model_version_id) == (parent, version)), None
        )
        others = {key: percent for key, percent in before.items() if key != mine}
        split = split_traffic(others, mine or _THIS, config.traffic)
        previous = max((key for key, percent in others.items() if percent), key=lambda key: others[key], default=None)
        if mine is None:
            report(f"deploying {config.model} with {split[_THIS]} % of the traffic")
            try:
                endpoint.deploy(
                    aiplatform.Model(config.model),
                    deployed_model_display_name=parent.rpartition("/")[2],
                    traffic_split=split,
                    machine_type=config.machine_type,
                    min_replica_count=config.min_replicas,
                    max_replica_count=config.max_replicas,
                    accelerator_type=config.accelerator or None,
                    accelerator_count=config.accelerator_count or None,
                    service_account=config.service_account or None,
                    deploy_request_timeout=config.timeout_minutes * 60.0,
                )
            except RuntimeError as error:
                raise PlatformError(
                    "the deployment did not finish", where=config.endpoint, received=errors.message_of(error)
                ) from error
        elif split != before:
            report(f"{config.model} is already deployed: updating the traffic split")
            endpoint.update(traffic_split=split)
        after = dict(endpoint.traffic_split)
        models = endpoint.list_models()
        now = next(d.id for d in models if (d.model.partition("@")[0], d.model_version_id) == (parent, version))
        alone = after.get(now) == 100 or config.replaces_idle
        removed = _take_away(endpoint, after, now, previous) if alone else ()
        url = predict_url(endpoint)
    return VertexDeployResult(
        now, {key: value for key, value in after.items() if key not in removed}, previous, removed, url
    )


def split_traffic(others: Mapping[str, int], new: str, percent: int) -> dict[str, int]:
    """The traffic split of an endpoint in which one deployment has `percent`. The others retain their proportions.

    If no other deployment has traffic, the new one gets all, because the percentages must sum to 100.

    Args:
        others: percentage by id of deployment, without the new one.
        new: id of the new deployment.
        percent: percentage of the new deployment, 0 to 100.

    Returns:
        Whole percentage by id of deployment.
    """
    total = sum(others.values())
    if not total:
        return {**others, new: 100}
    left = 100 - percent
    exact = {key: value * left / total for key, value in others.items()}
    split = {key: int(value) for key, value in exact.items()}
    # Rounded by the method of largest remainders, so that they sum to 100.
    for key in sorted(exact, key=lambda k: (split[k] - exact[k], k))[: left - sum(split.values())]:
        split[key] += 1
    return {**split, new: percent}


def _endpoint(config: VertexDeployConfig, report: Progress) -> Any:
    """The endpoint of the configured id, created if it does not exist."""
    from google.cloud import aiplatform

    project, location, endpoint_id = config.endpoint.split("/")[1::2]
    endpoint = aiplatform.Endpoint(config.endpoint)
    try:
        # The client sends a request only at the first access.
        endpoint.list_models()
        return endpoint
    except api.NotFound:
        report(f"creating the endpoint {endpoint_id}")
    try:
        return aiplatform.Endpoint.create(
            display_name=endpoint_id,
            endpoint_id=endpoint_id,
            labels=dict(config.labels),
            project=project,
            location=location,
            encryption_spec_key_name=config.encryption_key or None,
            dedicated_endpoint_enabled=config.dedicated,
            inference_timeout=config.inference_timeout_s if config.dedicated else None,
        )
    except api.Conflict:
        # Another run has just created it.
        return aiplatform.Endpoint(config.endpoint)


def _check_kind(config: VertexDeployConfig, endpoint: Any) -> None:
    """Refuses an existing endpoint that differs from the options that only its creation can set."""
    if not config.dedicated:
        return
    fix = "Deploy to another endpoint, or undeploy its models and delete it: the next deployment creates it"
    if not endpoint.dedicated_endpoint_enabled:
        raise UsageError(
            "the endpoint exists, and is not dedicated",
            where=config.endpoint,
            expected="an endpoint with dedicatedEndpointEnabled, which is set at its creation",
            received="a shared endpoint",
            fix=fix,
        )
    held = endpoint.gca_resource.client_connection_config.inference_timeout
    seconds = round(held.total_seconds()) if held else 0
    if seconds and seconds != config.inference_timeout_s:
        raise UsageError(
            "the endpoint exists with another timeout",
            where=config.endpoint,
            expected=f"inference_timeout_s = {config.inference_timeout_s}, which is set at its creation",
            received=f"{seconds} s",
            fix=f"Set inference_timeout_s = {seconds}. {fix}",
        )


def _take_away(endpoint: Any, traffic: Mapping[str, int], now: str, previous: str | None) -> tuple[str, ...]:
    """Undeploys deployments without traffic, which cost their machines, except the one for a rollback."""
    idle = sorted({d.id for d in endpoint.list_models()} - {now, previous})
    idle = [one for one in idle if not traffic.get(one)] if previous is not None else []
    for one in idle:
        endpoint.undeploy(one)
    return tuple(idle)
