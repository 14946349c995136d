"""Renewal at a service: a canary of the version of a dynamic training run, until it is promoted or withdrawn.

Each call runs one step: a task of the run runs the first step, and ticks run the others. The version is already
deployed, with or without traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceEndpoint
from headrace.components.registry.open import open_registry
from headrace.components.registry.origin import Clock
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig, advance
from headrace.core.ledger.claim import Claim
from headrace.core.progress import Progress, silent

if TYPE_CHECKING:
    from headrace.components.deploy.canary.replay import ReplayEvidence


def renew(
    endpoint: ServiceEndpoint,
    config: ServiceRolloutConfig,
    claim: Claim,
    report: Progress = silent,
    *,
    replayed: Callable[[str, str, datetime], ReplayEvidence] | None = None,
    now: Clock | None = None,
) -> RolloutStep:
    """Runs a step of the canary of a run's version, and makes the version the champion if it has all traffic.

    If the endpoint has no other version, this one already has all traffic. If the version was rolled back, further
    calls return that outcome.

    Args:
        endpoint: endpoint of the service.
        config: options of the canary.
        claim: claim of the run.
        report: receives progress.
        replayed: as of `advance`.
        now: as of `advance`.

    Raises:
        Overtaken: another run superseded this one.
        UsageError, DataError, PlatformError: as of `advance`.
    """
    claim.check()
    version, registry = config.version, config.registry or endpoint.registry()
    state = open_registry(registry).state()
    if version in state.versions and state.versions[version].status == "bad":
        marked, served = state.last(version, "mark bad"), endpoint.state()
        why = marked.why if marked is not None and marked.why else f"{version} is marked as bad."
        return RolloutStep(version, "rolled back", served.live, dict(served.traffic), (why,))
    step = advance(endpoint, replace(config, registry=registry), report, replayed=replayed, now=now)
    if step.outcome != "live":
        return step
    promoted = state.last(version, "promote")
    if promoted is None:
        registries.promote(registry, version, "There was no version to compare it with.", claim)
        promoted = open_registry(registry).state().last(version, "promote")
    return step if promoted is None else replace(step, reasons=(promoted.why,))
