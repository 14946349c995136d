"""Pipeline step of a Vertex AI deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.vertex.deploy import VertexDeployConfig, deploy
from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint
from headrace.components.registry.origin import origin
from headrace.components.registry.vertex.register import registered_model
from headrace.core import storage
from headrace.core.artifacts.registered import verify
from headrace.core.ledger.claim import Claim, may_begin
from headrace.core.steps import identity
from headrace.core.steps.step import running


def run(config: VertexDeployConfig, root: str, deployment: Any, claim: Mapping[str, Any] | None = None) -> None:
    """Implements `component.deploy`, whose docstring describes the arguments."""
    with running("deploy", root=root) as step:
        version, uri = registered_model(config.model)
        step.identity = identity.publish_identity("deploy", version, config.endpoint)
        if uri.startswith("gs://"):
            verify(uri)
        entry = config.model.partition("@")[0]
        registries.refuse_bad(entry, version)
        may_begin(Claim.from_json(claim or {}), "deploy")
        # In dynamic training with a canary, the machines of earlier canaries are not needed.
        config = replace(config, replaces_idle=bool(claim) and config.traffic == 0)
        result = deploy(config, step.progress)
        VertexEndpoint(config.endpoint, registry=entry).record(origin("deployed by a pipeline"))
        what = {
            "version": version,
            "previous": result.previous,
            "url": result.url,
            "traffic": dict(result.traffic),
            "deployed": result.deployed,
            "removed": list(result.removed),
        }
        storage.write_json(deployment.path, what)
        deployment.metadata.update(what)
        step.finish(outputs={"endpoint": config.endpoint}, result=what)
