"""Rollback as a step of a pipeline."""

from __future__ import annotations

import dataclasses
from typing import Any

from headrace.components.deploy.open import open_endpoint
from headrace.components.rollback.rollback import rollback
from headrace.core import storage
from headrace.core.steps import step as steps
from headrace.core.steps.step import running


def run(endpoint: str, root: str, to: str, registry: str, predictions: str, why: str, rolled_back: Any) -> str:
    """Runs the step; arguments and the result as of `component.rollback`."""
    with running("rollback", root=root) as step:
        step.identity = steps.identity("rollback", endpoint=endpoint, to=to)
        result = rollback(
            open_endpoint(endpoint, registry=registry),
            step.progress,
            to=to or None,
            predictions=predictions,
            registry=registry,
            why=why,
        )
        what = dataclasses.asdict(result)
        storage.write_json(rolled_back.path, what)
        rolled_back.metadata.update(version=result.version, bad=result.bad)
        for done in result.steps:
            step.progress(f"{done.name}: {done.done}")
        step.finish(outputs={"endpoint": endpoint}, result=what)
    return result.version
