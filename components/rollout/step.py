"""Pipeline step of a rollout: deploys a version, by a canary if one is configured, and promotes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.canary.settings import CanarySettings, settings_of
from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy
from headrace.components.deploy.local.step import curl
from headrace.components.deploy.local.switch import read_golden
from headrace.components.registry.open import open_registry
from headrace.components.registry.origin import Clock, origin
from headrace.components.rollout.deadline import time_left
from headrace.components.rollout.rollout import RolloutConfig, RolloutResult, raise_for, roll_out
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
    must_hold: bool,
    deployment: Any,
    by_ticks: bool = False,
) -> bool:
    """Implements `component.deploy`, whose docstring describes the arguments."""
    with running("deploy", root=root) as step:
        step.identity = identity.publish_identity("deploy", identity.model_version_of(model), endpoint)
        settings = settings_of(canary) if canary else None
        held, there = Claim.from_json(claim), EndpointFolder(endpoint).read()
        config = LocalDeployConfig(
            model=model,
            endpoint=endpoint,
            rules=rules,  # type: ignore[arg-type]
            registry=registry or registries.registry_of(model) or "",
            why="dynamic training" if claim else "",
            claim=held,
            # The setting of an existing endpoint does not change.
            log_share=log_share if log_share >= 0 and there is None else None,
        )
        left = time_left(held, identity.model_version_of(model), there, settings)
        settings = None if settings is None else settings.within(left)
        result = deploy_or_roll_out(config, settings, step.progress, once=by_ticks)
        if must_hold:
            raise_for(result, endpoint)
        what = {
            "version": result.version,
            "previous": EndpointFolder(endpoint).existing().previous,
            "live": result.live,
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
    return result.outcome in _HOLDS


def deploy_or_roll_out(
    config: LocalDeployConfig,
    settings: CanarySettings | None,
    report: Progress = silent,
    *,
    now: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
    poll_s: float = 1.0,
    once: bool = False,
) -> RolloutResult:
    """Deploys a registered version, by a canary if there are settings, and makes it the champion if it is live.

    Another call completes a killed one. If the version is already the champion, nothing changes.

    Args:
        config: options of the deployment. Without a registry, no champion is set.
        settings: settings of the canary; None deploys without a canary.
        report: receives progress.
        now, sleep: as of `roll_out`.
        poll_s: seconds between two checks of the evidence.
        once: whether to run one step of a canary and return.

    Raises:
        Overtaken: another run superseded the one that deploys.
        UsageError, DataError, PlatformError: as of `roll_out`.
    """
    version = identity.model_version_of(config.model)
    registry = open_registry(config.registry, claim=config.claim) if config.registry else None
    folder = EndpointFolder(config.endpoint, config.claim)
    if registry is not None and registry.state().get(version).status == "bad":
        state = folder.existing()
        marked = registry.state().last(version, "mark bad")
        why = marked.why if marked is not None and marked.why else f"{version} is marked as bad."
        return RolloutResult(version, "rolled back", state.live, str(state.url), (why,))
    if settings is None:
        done = deploy(config, report)
        result = RolloutResult(version, "live", version, done.url, ("Deployed without a canary.",))
    else:
        _leave_other(folder, version, report)
        result = roll_out(RolloutConfig(config, settings, poll_s, once), report, now=now, sleep=sleep)
    if registry is None or result.outcome not in _HOLDS:
        return result
    registry.promote(version, why=" ".join(result.reasons))
    # The recorded reason of the promotion, because an earlier call may have promoted it.
    promoted = registry.state().last(version, "promote")
    return result if promoted is None else replace(result, reasons=(promoted.why,))


def _leave_other(folder: EndpointFolder, version: str, report: Progress) -> None:
    """Withdraws a canary of another version, whose run was given up, because no process decides about it any more."""
    state = folder.read() if folder.path.is_dir() else None
    if folder.claim is None or state is None or state.canary in (None, version):
        return
    with locked(folder.uri, timeout_s=0, name=WATCH_LOCK), locked(folder.uri):
        state = folder.existing()
        if state.canary in (None, version):
            return
        report(f"withdrawing the canary {state.canary} of an earlier run")
        folder.write(state.withdrawn(origin("its run was given up")), state)
