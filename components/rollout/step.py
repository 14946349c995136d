"""Rollout as a step of a pipeline: a canary, its watch, and the champion's alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
from headrace.components.deploy.local.publisher import DeployConfig, deploy
from headrace.components.registry.open import open_registry
from headrace.components.registry.origin import origin
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, roll_out
from headrace.core import storage
from headrace.core.ledger.claim import Claim
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity
from headrace.core.steps.step import running
from headrace.core.storage.lock import locked

_HOLDS = ("promoted", "live")


def run(
    model: str,
    endpoint: str,
    registry: str,
    root: str,
    rules: str,
    claim: Mapping[str, Any],
    canary: Mapping[str, Any],
    log_share: float,
    deployment: Any,
) -> bool:
    """Runs the step; arguments as of `component.deploy`."""
    with running("deploy", root=root) as step:
        step.identity = identity.publish_identity("deploy", identity.model_version_of(model), endpoint)
        settings = CanarySettings.from_json(canary_of(canary)) if canary else None
        config = DeployConfig(
            model=model,
            endpoint=endpoint,
            rules=rules,  # type: ignore[arg-type]
            registry=registry,
            why="dynamic training",
            claim=Claim.from_json(claim),
            # An endpoint that exists keeps what it has.
            log_share=log_share if log_share >= 0 and EndpointFolder(endpoint).read() is None else None,
        )
        result = deploy_or_roll_out(config, settings, step.progress)
        what = {
            "version": result.version,
            "outcome": result.outcome,
            "live": result.live,
            "url": result.url,
            "reasons": list(result.reasons),
        }
        storage.write_json(deployment.path, what)
        deployment.metadata.update(what)
        step.finish(outputs={"endpoint": endpoint}, result=what)
    return result.outcome in _HOLDS


def canary_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a canary with whole numbers: engines keep those of a JSON object as floats."""
    whole = {name for name in ("minimum_requests", "minimum_replayed", "minimum_labelled") if name in plain}
    settings: dict[str, Any] = {name: int(value) if name in whole else value for name, value in plain.items()}
    if "steps" in settings:
        settings["steps"] = [int(step) for step in settings["steps"]]
    return settings


def deploy_or_roll_out(
    config: DeployConfig, settings: CanarySettings | None, report: Progress = silent
) -> RolloutResult:
    """Deploys a registered version, by a canary where there are settings, and makes it the champion if it holds.

    A second call finishes what a killed one began; once the version is the champion, nothing changes.

    Args:
        config: of the deployment, with its registry.
        settings: of the canary; None for none.
        report: receives progress.

    Raises:
        Overtaken: another run took the place of the one that deploys.
        UsageError, DataError, PlatformError: as of `roll_out`.
    """
    version = identity.model_version_of(config.model)
    registry = open_registry(config.registry, claim=config.claim)
    folder = EndpointFolder(config.endpoint, config.claim)
    if registry.state().get(version).status == "bad":
        state = folder.existing()
        marked = registry.state().last(version, "mark bad")
        why = marked.why if marked is not None and marked.why else f"{version} is marked as bad."
        return RolloutResult(version, "rolled back", state.live, str(state.url), (why,))
    if settings is None:
        done = deploy(config, report)
        result = RolloutResult(version, "live", version, done.url, ("There is no canary.",))
    else:
        _leave_other(folder, version, report)
        result = roll_out(RolloutConfig(config, settings), report)
    if result.outcome in _HOLDS:
        registry.promote(version, why=" ".join(result.reasons))
    return result


def _leave_other(folder: EndpointFolder, version: str, report: Progress) -> None:
    """Takes the traffic from a canary of another version, whose run was given up: nobody decides about it any more."""
    state = folder.read() if folder.path.is_dir() else None
    if folder.claim is None or state is None or state.canary in (None, version):
        return
    with locked(folder.uri, timeout_s=0, name=WATCH_LOCK), locked(folder.uri):
        state = folder.existing()
        if state.canary in (None, version):
            return
        report(f"the canary {state.canary} of an earlier run is left")
        folder.write(state.withdrawn(origin("its run was given up")), state)
