"""Rollback plan: the version that an endpoint returns to, and the version that is marked as bad."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.registry.state import Origin
from headrace.core.errors import GateRefused, UsageError


def rollback_plan(
    state: EndpointState,
    by: Origin,
    *,
    where: str,
    to: str | None = None,
    predictions: str = "",
    unusable: Collection[str] = (),
) -> PendingChange | None:
    """Plans a rollback: completes an unfinished one, ends a canary, or returns to the previous version.

    Args:
        state: state of the endpoint.
        by: origin of the rollback.
        where: the endpoint, for errors.
        to: version to return to; None for the previous one.
        predictions: folder of published predictions to roll back as well; "" for none.
        unusable: versions that the registry marks as bad or archived.

    Returns:
        The intent; None if the rollback is already done, so that a second call changes nothing.

    Raises:
        UsageError: there is no previous version.
        GateRefused: `to` is marked as bad.
    """
    begun = state.pending if state.pending is not None and state.pending.action == "rollback" else None
    if begun is not None:
        return replace(begun, version=to or begun.version, predictions=predictions or begun.predictions)
    # A canary that somebody started without headrace has traffic next to the live version.
    canary = state.canary or next((version for version in state.traffic if version != state.live), None)
    last = state.history[-1].action if state.history else ""
    alone = canary is None and dict(state.traffic) == {state.live: 100}
    if alone and (to == state.live or (to is None and last == "rollback")):
        return None
    if to is not None and to in state.bad:
        mark = state.bad[to]
        raise GateRefused(
            "the version to return to is marked as bad",
            where=f"{where}, version {to}",
            received=f"marked by {mark.who}, {mark.at}{f': {mark.why}' if mark.why else ''}",
            fix="Return to another version, or restore this one: headrace endpoint promote --restore",
        )
    target = to or (state.live if canary is not None else state.before(unusable))
    if target is None:
        raise UsageError(
            "the endpoint has no previous version to roll back to",
            where=where,
            expected="a version that was live before and is not marked as bad, or --to VERSION",
            received=f"{state.live} is the first version" if len(state.history) < 2 else f"{state.live} alone",
        )
    bad = canary if canary is not None and canary != target else state.live
    return PendingChange("rollback", target, bad, predictions, by.who, by.at, by.why)
