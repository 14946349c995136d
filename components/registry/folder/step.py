"""Pipeline steps of a folder registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import CHAMPION
from headrace.core.ledger.claim import Claim, may_begin
from headrace.core.sources.data_version import version_of
from headrace.core.steps import identity
from headrace.core.steps.step import running


def run(
    registry: str,
    root: str,
    model: Any,
    evaluation: Any,
    claim: Mapping[str, Any] | None = None,
    promote: bool = True,
) -> str:
    """Implements `component.register`, whose docstring describes the arguments."""
    with running("register", root=root) as step:
        version = identity.model_version_of(model.path)
        step.identity = identity.publish_identity("register", version, registry)
        held = Claim.from_json(claim or {})
        may_begin(held, "register")
        folder = Registry(registry, claim=held)
        known = folder.state().versions.get(version)
        # A canary of an earlier attempt was rolled back: a bad version is not registered, and the next task detects it.
        if held is None or known is None or known.status != "bad":
            version = folder.register(model.path, evaluation.path)
            if promote or (held is None and CHAMPION not in folder.aliases()):
                folder.promote(version, why="registered by a pipeline")
        registered = str(folder.path(version))
        step.finish(outputs={"registered": registered}, result={"version": version, "aliases": dict(folder.aliases())})
    return registered


def champion(
    registry: str,
    root: str,
    version: str = "",
    data: str = "",
    data_version: str = "",
    csv: str = "",
    cache: bool = True,
) -> tuple[str, str, str]:
    """Implements `component.champion`, whose docstring describes the arguments."""
    with running("champion", root=root) as step:
        step.identity = identity.champion_identity(registry, version)
        found = Registry(registry).champion(version)
        measured = version_of(data, data_version, csv)
        step.finish(outputs={"model": found.uri}, result={"version": found.version, "data_version": measured})
    return found.uri, measured, identity.attempt_of(measured, cache=cache)


def resolve(
    registry: str,
    root: str,
    champion: str,
    training: Mapping[str, Any],
    data: str,
    data_version: str,
    csv: str,
    cache: bool,
) -> tuple[str, str]:
    """Implements `component.resolve`, whose docstring describes the arguments."""
    with running("resolve", root=root) as step:
        step.identity = identity.resolve_identity(registry, champion, str(training.get("warm_start", "")), data)
        measured = version_of(data, data_version, csv)
        step.finish(outputs={}, result={"data_version": measured})
    return measured, identity.attempt_of(measured, cache=cache)
