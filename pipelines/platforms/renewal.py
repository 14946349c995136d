"""Renewal by a service: deploys a version of dynamic training, which receives traffic at once or by a canary."""

from __future__ import annotations

from typing import Any


def may_replay(options: Any) -> bool:
    """Whether steps of a canary may replay requests, by the `traffic` and `request_log` of an endpoint's options."""
    return bool(options.request_log) and options.traffic == 0


def renewed(
    platform: Any,
    options: Any,
    *,
    registered: Any,
    claim: Any,
    canary: Any,
    endpoint: Any,
    model: Any,
    registry: Any,
    root: Any,
) -> Any:
    """Deploys a registered version, with the traffic of the options or by a canary whose steps run in ticks.

    Args:
        platform: that compiles.
        options: of its endpoint, with `traffic`, `traffic_log` and `request_log`.
        registered: output of the task that registered the version.
        claim, canary, endpoint, model, registry, root: inputs of the tasks.
    """
    from headrace.components.rollout.component import renew

    deployed = platform.deploy(registered=registered, endpoint=endpoint, root=root, claim=claim)
    if options.traffic:
        return deployed
    task = renew(
        model=model,
        endpoint=endpoint,
        traffic_log=options.traffic_log,
        registry=registry,
        claim=claim,
        canary=canary,
        root=root,
        **({"request_log": options.request_log} if options.request_log else {}),
    )
    return platform.configure_task(task.after(deployed), cache=False)
