"""Pipeline step of a local deployment."""

from __future__ import annotations

import json
import shlex
from typing import Any

from headrace.components.deploy.local import publisher
from headrace.components.deploy.local.switch import read_golden
from headrace.core import storage
from headrace.core.steps import identity
from headrace.core.steps.step import running


def run(model: str, endpoint: str, root: str, deployment: Any, rules: str = "enforce") -> None:
    """Implements `component.deploy`, whose docstring describes the arguments."""
    with running("deploy", root=root) as step:
        step.identity = identity.publish_identity("deploy", identity.model_version_of(model), endpoint)
        config = publisher.LocalDeployConfig(model=model, endpoint=endpoint, rules=rules)  # type: ignore[arg-type]
        result = publisher.deploy(config, step.progress)
        what = {
            "version": result.version,
            "previous": result.previous,
            "url": result.url,
            "checked_rows": result.checked_rows,
            "curl": curl(result.url, model),
        }
        storage.write_json(deployment.path, what)
        deployment.metadata.update(what)
        step.finish(outputs={"endpoint": endpoint}, result=what)


def curl(url: str, model: str) -> str:
    """A command line that requests the prediction of a golden row from the endpoint."""
    body = json.dumps({"instances": read_golden(model)["instances"][:1]})
    return f"curl -s {url}/predict -H 'Content-Type: application/json' -d {shlex.quote(body)}"
