"""Operation of a local endpoint: promotes or removes a stored version, starts the endpoint and stops it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from headrace.components.deploy import registries
from headrace.components.deploy.local import client, control
from headrace.components.deploy.local.endpoint import LAUNCH_LOCK, EndpointFolder
from headrace.components.deploy.local.intent import begin, give_up
from headrace.components.deploy.local.switch import LocalDeployResult, Switch, stop_servers
from headrace.components.deploy.state import PendingChange
from headrace.components.registry.origin import origin
from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.artifacts.registered import verify
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.progress import Progress, silent
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output


def promote(
    endpoint: str,
    version: str,
    report: Progress = silent,
    *,
    why: str = "",
    restore: bool = False,
    registry: str = "",
    start_timeout_s: float = 120.0,
    lock_timeout_s: float = 300.0,
    claim: Claim | None = None,
) -> tuple[LocalDeployResult, str]:
    """Gives all traffic to a stored version, and makes it the champion of the endpoint's registry.

    Args:
        endpoint: the endpoint's folder.
        version: a stored version.
        report: receives progress.
        why: reason for the histories.
        restore: whether to promote a version that is marked as bad, which makes it usable again.
        registry: registry of the versions; "" for the one that the endpoint records.
        start_timeout_s: maximum time until the process responds, in seconds.
        lock_timeout_s: maximum time to wait for another deployment, in seconds.
        claim: claim of the run that promotes; None for a run outside dynamic training.

    Returns:
        The result, and the change of the registry, as a sentence; "" without a registry.

    Raises:
        UsageError: the endpoint or the version does not exist, or the version is archived.
        GateRefused: the version is marked as bad.
        DataError: a file of the version is damaged.
        PlatformError: the process does not start, its predictions differ from the golden rows, the lock is held, a
            rollback is unfinished, or a canary of another version is under way.
    """
    folder = EndpointFolder(endpoint, claim)
    folder.existing()
    by = origin(why)
    with locked(endpoint, timeout_s=lock_timeout_s) as lock:
        state = folder.existing()
        folder.check_stored(version)
        registry = registry or state.registry
        if restore and registries.has(registry, version):
            registries.restore(registry, version, why)
        usable = restore or registries.refuse_bad(registry, version)
        verify(str(folder.version_path(version)))
        state = begin(folder, state, version, registry, usable, PendingChange("promote", version, **vars(by)))
        switch = Switch(folder, lock, start_timeout_s, report, state.serving)
        try:
            result = switch.to(version, state.name, "promote", by, state)
        except HeadraceError:
            give_up(folder, version, remove=False)
            raise
        aliases = registries.promote(registry, version, why, claim) if registry else ""
        before = folder.existing()
        folder.write(before.settled("promote"), before)
        return result, aliases


def undeploy(endpoint: str, version: str, *, lock_timeout_s: float = 300.0) -> None:
    """Removes a stored version without traffic. A second call changes nothing.

    Raises:
        UsageError: the endpoint does not exist, or the version has traffic.
        PlatformError: the lock is held.
    """
    folder = EndpointFolder(endpoint)
    folder.existing()
    with locked(endpoint, timeout_s=lock_timeout_s):
        state = folder.existing()
        folder.version_path(version)
        if version in state.traffic:
            raise UsageError(
                "the version has traffic",
                where=endpoint,
                expected="a version without traffic",
                received=f"{version}, {state.traffic[version]} % of the requests",
                fix="Promote another version first, or stop the endpoint: headrace endpoint stop",
            )
        if state.previous == version:
            folder.write(replace(state, previous=None), state)
        folder.remove(version)


def start(
    endpoint: str,
    report: Progress = silent,
    *,
    port: int = 0,
    start_timeout_s: float = 120.0,
    lock_timeout_s: float = 300.0,
) -> str:
    """Starts the endpoint's router and the processes of its versions with traffic, unless they run.

    Args:
        endpoint: the endpoint's folder.
        report: receives progress.
        port: new port of the endpoint; 0 for its current port.
        start_timeout_s: maximum time until the processes respond, in seconds.
        lock_timeout_s: maximum time to wait for a deployment, in seconds.

    Returns:
        URL of the endpoint.

    Raises:
        UsageError: the endpoint does not exist, or the port is in use.
        PlatformError: the router or a process does not start, or the lock is held.
    """
    folder = EndpointFolder(endpoint)
    folder.existing()
    control.check_port(port)
    with locked(endpoint, timeout_s=lock_timeout_s):
        before = folder.existing()
        state = replace(before, stopped=False, port=port or before.port or control.free_port())
        control.ensure(folder, state.port, lambda: report("waiting for the router"))
        if state != before:
            folder.write(state, before)
        deadline = time.monotonic() + start_timeout_s
        while True:
            found = control.report_at(folder, state.port) or {}
            versions = found.get("versions", {})
            waiting = [v for v in state.traffic if versions.get(v, {}).get("state") != "ready"]
            if found and not waiting and client.healthy(str(state.url), state.live):
                return str(state.url)
            if time.monotonic() > deadline:
                raise PlatformError(
                    "the endpoint was not ready in time",
                    where=endpoint,
                    expected=f"within {start_timeout_s:g} s",
                    received=", ".join(_not_ready(versions, v) for v in waiting) or "no answer of the live version",
                )
            report("waiting for the server")
            time.sleep(0.1)


def _not_ready(versions: Mapping[str, Mapping[str, object]], version: str) -> str:
    one = versions.get(version, {})
    error = one.get("error")
    return f"{version} {one.get('state', 'down')}{f' ({error})' if error else ''}"


def stop(endpoint: str, *, lock_timeout_s: float = 300.0) -> None:
    """Stops the endpoint's router and processes until the next start, deployment or rollback.

    Raises:
        UsageError: the endpoint does not exist.
        PlatformError: a process cannot be stopped, or the lock is held.
    """
    folder = EndpointFolder(endpoint)
    if not folder.path.is_dir():
        raise folder.missing()
    check_output(endpoint, ENDPOINT, option="ENDPOINT")
    with locked(endpoint, timeout_s=lock_timeout_s):
        state = folder.read()
        # The state is written first, so that a router that is started concurrently starts no process.
        if state is not None and not state.stopped:
            folder.write(replace(state, stopped=True), state)
        control.stop(folder)
        # Waits until a process that a killed router was starting has announced itself.
        with locked(endpoint, timeout_s=lock_timeout_s, name=LAUNCH_LOCK):
            stop_servers(folder)
