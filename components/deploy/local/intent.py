"""Intent of a change: written into the endpoint's state before the first effect, and settled after the last."""

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
    """Writes the intent to deploy or promote a version; the endpoint's lock is held.

    Args:
        folder: of the endpoint.
        state: that was read under the lock.
        version: that gets the traffic.
        registry: of the version; "" if unknown.
        usable: whether the registry has the version, and does not mark it as bad.
        intent: to write.
        rollout: where the version is to be tried first; it stands in the state with the intent.

    Raises:
        GateRefused: the version is marked as bad.
        PlatformError: a rollback is not finished.
    """
    tried = intent.action == "promote" or rollout is not None
    refuse_unfinished(folder.uri, state, version if tried else "")
    before = state
    if version in state.bad:
        if not usable:
            refuse_marked(folder.uri, state, version)
        # Somebody restored it in the registry since.
        state = state.restored(version)
    begun = state.begun(intent) if rollout is None else state.staged(intent, rollout)
    state = replace(begun, registry=registry or state.registry)
    folder.write(state, before)
    return state


def give_up(folder: EndpointFolder, version: str, *, remove: bool = True) -> None:
    """Settles a deployment that failed; its copy of the Model may be at fault, so the next one publishes it again."""
    state = folder.read()
    if remove and (state is None or version not in (state.previous, *state.traffic)):
        folder.remove(version)
    if state is None:
        return
    after = state.settled("deploy").settled("promote")
    if state.canary == version and version not in state.traffic:
        # It was staged, and had no traffic yet.
        after = replace(after, rollout=None)
    if after != state:
        folder.write(after, state)
