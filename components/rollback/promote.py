"""Promotion of a version at an endpoint: traffic, then the registry's champion alias."""

from __future__ import annotations

from headrace.components.deploy import registries
from headrace.components.deploy.base import Endpoint
from headrace.components.registry.state import Origin
from headrace.components.rollback.rollback import REGISTRY, TRAFFIC, RollbackStep
from headrace.core.errors import GateRefused, PlatformError
from headrace.core.progress import Progress, silent


def promote(
    endpoint: Endpoint,
    version: str,
    by: Origin,
    report: Progress = silent,
    *,
    restore: bool = False,
    registry: str = "",
) -> tuple[RollbackStep, ...]:
    """Routes all traffic to a version, and makes it the champion. A repeated call changes nothing.

    Args:
        endpoint: endpoint at a service.
        version: a version that is deployed there.
        by: who promotes it, and why.
        report: receives progress.
        restore: whether a version that is marked as bad is restored first; otherwise it is refused.
        registry: the versions' registry; "" for the registry that the endpoint records.

    Returns:
        The changes, in order.

    Raises:
        UsageError: the endpoint or the version does not exist, or is archived.
        GateRefused: the version is marked as bad.
        PlatformError: the service failed, another change is in progress, or a rollback is not complete.
    """
    with endpoint.changing():
        state = endpoint.state()
        if state.pending is not None and state.pending.action == "rollback":
            raise PlatformError(
                "a rollback of the endpoint is not finished",
                where=endpoint.where,
                received=f"from {state.pending.bad} to {state.pending.version}",
                fix=f"Finish it: headrace rollback {endpoint.where}",
            )
        registry = registry or endpoint.registry()
        if restore and registries.has(registry, version):
            registries.restore(registry, version, by.why)
        usable = registries.refuse_bad(registry, version)
        if version in state.bad:
            if not (usable or restore):
                raise GateRefused(
                    "the version is marked as bad", where=f"{endpoint.where}, version {version}", fix="--restore"
                )
            endpoint.write(state.restored(version), state)
        steps = [RollbackStep(TRAFFIC, endpoint.promote(version, by, report))]
        if registry:
            steps.append(RollbackStep(REGISTRY, registries.promote(registry, version, by.why)))
    return tuple(steps)
