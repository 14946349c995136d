"""Pipeline step of a KServe deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.kserve.deploy import apply, config_of, manifest
from headrace.components.deploy.kserve.installed import installed
from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint
from headrace.components.deploy.kserve.service import ClusterServices
from headrace.components.registry.origin import origin
from headrace.core import storage
from headrace.core.artifacts.registered import verify
from headrace.core.errors import UsageError
from headrace.core.ledger.claim import Claim, may_begin
from headrace.core.steps import identity
from headrace.core.steps.step import running


def run(
    model: str,
    endpoint: str,
    root: str,
    deployment: Any,
    settings: Mapping[str, Any],
    claim: Mapping[str, Any] | None = None,
) -> None:
    """Implements `component.deploy`, whose docstring describes the arguments."""
    with running("deploy", root=root) as step:
        version = identity.model_version_of(model)
        verify(model)
        step.identity = identity.publish_identity("deploy", version, endpoint)
        registries.refuse_bad(registries.registry_of(model), version)
        config = config_of(settings)
        wanted = manifest(endpoint, model, version, config)
        with step.importing():
            from kubernetes import client
            from kubernetes import config as cluster
        try:
            cluster.load_incluster_config()
        except cluster.ConfigException as error:
            raise UsageError(
                "the step does not run in a pod of a cluster",
                where="deploy",
                received=str(error),
                fix="Run it as a task of a pipeline",
            ) from error
        may_begin(Claim.from_json(claim or {}), "deploy")
        api = client.CustomObjectsApi()
        services, known = ClusterServices(api), installed(api.api_client)
        if known.unknown:
            step.progress(f"the cluster does not report {known.unknown}: deploying anyway", lasting=True)
        url = apply(services, wanted, timeout_s=config.timeout_minutes * 60.0, known=known, report=step.progress)
        KserveEndpoint(endpoint, services).record(origin("deployed by a pipeline"))
        what = {"version": version, "url": url, "traffic": config.traffic, "manifest": wanted}
        storage.write_json(deployment.path, what)
        deployment.metadata.update(version=version, url=url, traffic=config.traffic)
        step.finish(outputs={"endpoint": endpoint}, result={key: what[key] for key in ("version", "url", "traffic")})
