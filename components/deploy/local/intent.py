"""Intent of a change: written into the endpoint's state before the first effect, and settled after the last."""

from __future__ import annotations

from dataclasses import replace

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState, Pending
from headrace.core.errors import GateRefused, PlatformError


def begin(
    folder: EndpointFolder, state: EndpointState, version: str, registry: str, usable: bool, intent: Pending
) -> EndpointState:
    """Writes the intent to deploy or promote a version; the endpoint's lock is held.

    Args:
        folder: of the endpoint.
        state: that was read under the lock.
        version: that gets the traffic.
        registry: of the version; "" if unknown.
        usable: whether the registry has the version, and does not mark it as bad.
        intent: to write.

    Raises:
        GateRefused: the version is marked as bad.
        PlatformError: a rollback is not finished.
    """
    refuse_half_rollback(folder, state)
    before = state
    if version in state.bad:
        if not usable:
            mark = state.bad[version]
            raise GateRefused(
                "the version is marked as bad",
                where=f"{folder.uri}, version {version}",
                received=f"marked by {mark.who}, {mark.at}{f': {mark.why}' if mark.why else ''}",
                fix=f"Deploy another version. If this one is good after all: headrace endpoint promote {folder.uri} "
                f"{version} --restore",
            )
        # Somebody restored it in the registry since.
        state = state.restored(version)
    state = replace(state.begun(intent), registry=registry or state.registry)
    folder.write(state, before)
    return state


def refuse_half_rollback(folder: EndpointFolder, state: EndpointState) -> None:
    """Refuses a change of the traffic while a rollback is not finished.

    Raises:
        PlatformError: one is not finished.
    """
    pending = state.pending
    if pending is not None and pending.action == "rollback":
        raise PlatformError(
            "a rollback of the endpoint is not finished",
            where=folder.uri,
            received=f"from {pending.bad} to {pending.version}, begun by {pending.who}, {pending.at}",
            fix=f"Finish it: headrace rollback {folder.uri}",
        )


def give_up(folder: EndpointFolder, version: str) -> None:
    """Settles a deployment that failed; its copy of the Model may be at fault, so the next one publishes it again."""
    state = folder.read()
    if state is None or version not in (state.previous, *state.traffic):
        folder.remove(version)
    if state is not None and (after := state.settled("deploy")) != state:
        folder.write(after, state)
