"""Checks before a change of traffic: no rollback or canary is unfinished, and the version is not marked as bad."""

from __future__ import annotations

from headrace.components.deploy.state import EndpointState
from headrace.core.errors import GateRefused, PlatformError


def refuse_unfinished(where: str, state: EndpointState, version: str) -> None:
    """Refuses a change of the traffic while a rollback is unfinished or a canary of another version is under way.

    Args:
        where: the endpoint, for errors.
        state: state of the endpoint.
        version: the canary whose traffic may be changed; "" for none.

    Raises:
        PlatformError: a rollback is not finished, or a canary of another version is under way.
    """
    pending = state.pending
    if pending is not None and pending.action == "rollback":
        raise PlatformError(
            "a rollback of the endpoint is not finished",
            where=where,
            received=f"from {pending.bad} to {pending.version}, begun by {pending.who}, {pending.at}",
            fix=f"Finish it: headrace rollback {where}",
        )
    if state.rollout is not None and state.canary != version:
        canary = state.rollout.canary
        raise PlatformError(
            "a canary of the endpoint is under way",
            where=where,
            received=f"{canary.canary} with {canary.percent} % of the traffic, by {canary.who}, since "
            f"{canary.at.isoformat(timespec='seconds')}",
            fix=f"Wait for its end; or end it: headrace endpoint promote {where} {canary.canary}, or headrace "
            f"rollback {where}",
        )


def refuse_marked(where: str, state: EndpointState, version: str) -> None:
    """Refuses a version that the endpoint marks as bad.

    Args:
        where: the endpoint, for errors.
        state: state of the endpoint.
        version: the version to get traffic.

    Raises:
        GateRefused: the version is marked as bad.
    """
    mark = state.bad.get(version)
    if mark is not None:
        raise GateRefused(
            "the version is marked as bad",
            where=f"{where}, version {version}",
            received=f"marked by {mark.who}, {mark.at}{f': {mark.why}' if mark.why else ''}",
            fix=f"Deploy another version. If this one is good after all: headrace endpoint promote {where} "
            f"{version} --restore",
        )
