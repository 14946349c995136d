"""Intent of a change: written to the endpoint's state before its first effect, and removed after the last."""

from __future__ import annotations

from dataclasses import replace

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.rollout import Rollout
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.deploy.unfinished import refuse_marked, refuse_unfinished


def begin(
    folder: EndpointFolder,
    state: EndpointState,
    version: str,
    registry: str,
    usable: bool,
    intent: PendingChange,
    rollout: Rollout | None = None,
) -> EndpointState:
    """Writes the intent to deploy or promote a version. The caller holds the endpoint's lock.

    Args:
        folder: folder of the endpoint.
        state: the state that was read under the lock.
        version: the version to get traffic.
        registry: registry of the version; "" if it is unknown.
        usable: whether the registry has the version, and does not mark it as bad.
        intent: the intent to write.
        rollout: the canary that is written with the intent; None without a canary.

    Returns:
        The state with the intent.

    Raises:
        GateRefused: the version is marked as bad.
        PlatformError: a rollback is unfinished, or a canary of another version is under way.
    """
    tried = intent.action == "promote" or rollout is not None
    refuse_unfinished(folder.uri, state, version if tried else "")
    before = state
    if version in state.bad:
        if not usable:
            refuse_marked(folder.uri, state, version)
        # Somebody restored it in the registry after it was marked.
        state = state.restored(version)
    begun = state.begun(intent) if rollout is None else state.staged(intent, rollout)
    state = replace(begun, registry=registry or state.registry)
    folder.write(state, before)
    return state


def give_up(folder: EndpointFolder, version: str, *, remove: bool = True) -> None:
    """Ends a failed deployment. Its copy of the Model may be the cause, so the next deployment publishes it again."""
    state = folder.read()
    if remove and (state is None or version not in (state.previous, *state.traffic)):
        folder.remove(version)
    if state is None:
        return
    after = state.settled("deploy").settled("promote")
    if state.canary == version and version not in state.traffic:
        # The canary is staged, and has no traffic yet.
        after = replace(after, rollout=None)
    if after != state:
        folder.write(after, state)
