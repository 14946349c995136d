"""Pipeline steps of a canary on Vertex AI or KServe: a step of a canary, and the first step of a renewal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrace.components.deploy.canary.settings import settings_of
from headrace.components.deploy.open import open_service
from headrace.components.rollout.deadline import time_left
from headrace.components.rollout.renewal import renew
from headrace.components.rollout.replay import ServiceReplay, check_request_log, read_losses
from headrace.components.rollout.service import ServiceRolloutConfig, advance, raise_for_step
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.steps import identity
from headrace.core.steps import step as steps
from headrace.core.steps.step import running


def run(
    endpoint: str,
    version: str,
    traffic_log: str,
    root: str,
    settings: Mapping[str, Any],
    registry: str,
    again: bool,
    why: str,
    step: Any,
    request_log: str = "",
    labels: str = "",
    problem: str = "",
    problem_digest: str = "",
) -> str:
    """Implements `component.canary`, whose docstring describes the arguments and the result."""
    with running("canary", root=root) as this:
        this.identity = steps.identity("canary", endpoint=endpoint, version=version)
        config = ServiceRolloutConfig(version, traffic_log, settings_of(settings), registry, again, why)
        service = open_service(endpoint, registry=registry)
        models = registry or (service.registry() if request_log else "")
        check_request_log(config.settings, request_log, models, labels, problem)
        replayed = None
        if request_log:
            losses = read_losses(labels, problem, problem_digest)
            replayed = ServiceReplay(models, request_log, losses, this.progress)
        taken = advance(service, config, this.progress, replayed=replayed)
        what = {**dataclasses.asdict(taken), "reasons": list(taken.reasons)}
        storage.write_json(step.path, what)
        step.metadata.update(version=version, outcome=taken.outcome)
        for reason in taken.reasons:
            this.progress(reason)
        raise_for_step(taken, endpoint)
        this.finish(outputs={"endpoint": endpoint}, result=what)
    return taken.outcome


def renewal(
    model: Any,
    endpoint: str,
    traffic_log: str,
    registry: str,
    root: str,
    canary: Mapping[str, Any],
    claim: Mapping[str, Any],
    step: Any,
    request_log: str = "",
) -> bool:
    """Implements `component.renew`, whose docstring describes the arguments."""
    # The record of the deployment. The task that deployed without traffic wrote its first part.
    with running("deploy", root=root) as this:
        version = identity.model_version_of(storage.place_of(model))
        this.identity = identity.publish_identity("deploy", version, endpoint)
        held = Claim.from_json(claim)
        if held is None:
            raise UsageError("the claim is missing", where="renew", expected="output of claim")
        settings = settings_of(canary)
        check_request_log(settings, request_log, registry)
        replayed = ServiceReplay(registry, request_log, None, this.progress) if settings.needs_replay else None
        service = open_service(endpoint, registry=registry)
        settings = settings.within(time_left(held, version, service.state(), settings))
        config = ServiceRolloutConfig(version, traffic_log, settings, registry, why="dynamic training")
        taken = renew(service, config, held, this.progress, replayed=replayed)
        what = {**dataclasses.asdict(taken), "reasons": list(taken.reasons)}
        storage.write_json(step.path, what)
        step.metadata.update(version=version, outcome=taken.outcome)
        this.finish(outputs={"endpoint": endpoint}, result=what)
    return taken.outcome in ("promoted", "live")
