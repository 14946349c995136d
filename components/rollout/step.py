"""Rollout on an endpoint of this machine as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.canary.settings import settings_of
from headrace.components.deploy.local import publisher
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.step import curl
from headrace.components.deploy.local.switch import read_golden
from headrace.components.rollout.rollout import RolloutConfig, raise_for, roll_out
from headrace.core import storage
from headrace.core.steps import identity
from headrace.core.steps.step import running


def run(
    model: str, endpoint: str, root: str, deployment: Any, settings: Mapping[str, Any], rules: str = "enforce"
) -> None:
    """Runs the step; arguments as of `component.deploy`."""
    with running("deploy", root=root) as step:
        step.identity = identity.publish_identity("deploy", identity.model_version_of(model), endpoint)
        config = publisher.DeployConfig(model=model, endpoint=endpoint, rules=rules)  # type: ignore[arg-type]
        result = roll_out(RolloutConfig(config, settings_of(settings)), step.progress)
        raise_for(result, endpoint)
        registry = registries.registry_of(model)
        if result.outcome == "live" and registry:
            # There was nothing to compare it with: a canary that is promoted becomes the champion by itself.
            registries.promote(registry, result.version, "deployed by a pipeline")
        what = {
            "version": result.version,
            "previous": EndpointFolder(endpoint).existing().previous,
            "url": result.url,
            # A canary is staged after its golden rows agreed over HTTP.
            "checked_rows": len(read_golden(model)["instances"]),
            "curl": curl(result.url, model),
            "outcome": result.outcome,
            "reasons": list(result.reasons),
        }
        storage.write_json(deployment.path, what)
        deployment.metadata.update(what)
        step.finish(outputs={"endpoint": endpoint}, result=what)
