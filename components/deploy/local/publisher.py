"""Local deployment: publish a version, start its server, check golden rows over HTTP, switch, and roll back.

Everything happens under the endpoint's lock, and `endpoint.json` is the state: a killed process leaves the old or the
new one, and the next process removes other leftovers, such as half a copy or a server without traffic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.components.deploy.local import client
from headrace.components.deploy.local.endpoint import Change, EndpointFolder, EndpointState
from headrace.components.deploy.local.switch import DeployResult, Switch, read_golden, stop_strays
from headrace.components.registry.record import model_version
from headrace.core import storage
from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.artifacts.registered import verify
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output

__all__ = ["DeployConfig", "DeployResult", "EndpointStatus", "deploy", "rollback", "status", "stop"]

# The name becomes a part of URLs and an argument of a command.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True)
class DeployConfig:
    """Options of a local deployment.

    Args:
        model: a Model artifact.
        endpoint: the endpoint's folder; created if it does not exist.
        name: of the model in URLs; None for the problem's name.
        start_timeout_s: maximum time until the server responds, in seconds.
        lock_timeout_s: maximum time to wait for another deployment to the same endpoint, in seconds.
        keep_versions: number of versions to keep besides the live and the previous one.
        rules: "enforce" refuses rows that break the Model's rules, "warn" predicts and counts them.

    Raises:
        UsageError: a name that cannot be in a URL, a timeout that is not positive, a negative number of versions, or
            a mode of rules that does not exist.
    """

    model: str
    endpoint: str
    name: str | None = None
    start_timeout_s: float = 120.0
    lock_timeout_s: float = 300.0
    keep_versions: int = 3
    rules: Mode = "enforce"

    def __post_init__(self) -> None:
        check_mode(self.rules)
        if self.name is not None and not _NAME.match(self.name):
            raise UsageError(
                "the model name is not valid",
                where="DeployConfig.name",
                expected="1 to 128 letters, digits, ., - and _, starting with a letter or a digit",
                received=repr(self.name),
            )
        if not self.start_timeout_s > 0:
            raise UsageError(
                "start_timeout_s is not valid", expected="a positive number", received=repr(self.start_timeout_s)
            )
        if self.lock_timeout_s < 0 or self.keep_versions < 0:
            raise UsageError("lock_timeout_s and keep_versions are not below 0", where="DeployConfig")


@dataclass(frozen=True)
class EndpointStatus:
    """Status of an endpoint.

    Attributes:
        name: of the model in URLs; None where no version was ever live.
        live: the version that is served.
        previous: the version that a rollback would restore.
        url: of the server; None when it was stopped.
        pid: process id of the server; None when it was stopped.
        healthy: whether the server responds and serves `live`.
        versions: the versions that are stored.
        history: the versions that went live, latest last.
    """

    name: str | None
    live: str | None
    previous: str | None
    url: str | None
    pid: int | None
    healthy: bool
    versions: tuple[str, ...]
    history: tuple[Change, ...]


def deploy(config: DeployConfig, report: Progress = silent) -> DeployResult:
    """Makes a Model live: publishes it, starts its server, checks its golden rows over HTTP, and switches to it.

    The version that was live becomes `previous`, and its server is stopped last. A failure before the switch leaves
    the endpoint unchanged. A killed deployment is finished by running it again; a version that is already live and
    healthy is left unchanged.

    Raises:
        UsageError: the folder holds no Model, or the endpoint's folder cannot be written.
        DataError: the Model is damaged.
        PlatformError: the server does not start, its predictions differ from the golden rows, or the lock is held.
    """
    check_output(config.endpoint, ENDPOINT, option="--endpoint", inputs={"--model": config.model})
    version = model_version(config.model)
    verify(config.model)
    folder = EndpointFolder(config.endpoint)
    with locked(config.endpoint, timeout_s=config.lock_timeout_s) as lock:
        state = folder.read()
        name = config.name or (state.name if state is not None else _problem_name(config.model))
        read_golden(config.model)
        stop_strays(folder, state)
        used = () if state is None else (state.live, state.previous)
        if version not in used or not _whole(folder.version_path(version)):
            report("publishing the model")
            folder.publish(config.model, version)
        switch = Switch(folder, lock, config.start_timeout_s, report, config.rules)
        try:
            result = switch.to(version, name, "deploy", state)
        except PlatformError:
            # Another attempt publishes it again, as the copy may be at fault. After the switch it is in use.
            after = folder.read()
            if after is None or version not in (after.live, after.previous):
                folder.remove(version)
            raise
        folder.clean(folder.read(), config.keep_versions)
        return result


def rollback(
    endpoint: str,
    report: Progress = silent,
    *,
    to: str | None = None,
    start_timeout_s: float = 120.0,
    lock_timeout_s: float = 300.0,
) -> DeployResult:
    """Rolls back to the previous version: starts its server, checks its golden rows, and switches to it.

    The version that was live does not become `previous`, so a repeated rollback or a retry changes nothing, and never
    restores the version that was rolled back. `to` selects an older version.

    Args:
        endpoint: the endpoint's folder.
        report: receives progress.
        to: a stored version; None for the previous one.
        start_timeout_s: maximum time until the server responds, in seconds.
        lock_timeout_s: maximum time to wait for another deployment, in seconds.

    Raises:
        UsageError: the endpoint, the previous version or the version `to` does not exist.
        DataError: a file of that version is damaged.
        PlatformError: the server does not start, its predictions differ from the golden rows, or the lock is held.
    """
    folder = EndpointFolder(endpoint)
    _state_of(folder)
    with locked(endpoint, timeout_s=lock_timeout_s) as lock:
        state = _state_of(folder)
        stop_strays(folder, state)
        target = to or state.previous
        if target is None and state.history and state.history[-1].action == "rollback":
            target = state.live
        if target is None:
            raise UsageError(
                "there is no previous version to roll back to",
                where=endpoint,
                expected=f"one of {', '.join(folder.versions())} as `to`",
                received=f"{state.live} is the first version",
            )
        if not folder.version_path(target).is_dir():
            raise UsageError(
                "the version does not exist",
                where=endpoint,
                expected=f"one of {', '.join(folder.versions())}",
                received=repr(target),
            )
        verify(str(folder.version_path(target)))
        return Switch(folder, lock, start_timeout_s, report, state.rules).to(target, state.name, "rollback", state)


def stop(endpoint: str, *, lock_timeout_s: float = 300.0) -> None:
    """Stops the endpoint's servers until the next deployment or rollback.

    Raises:
        UsageError: the endpoint does not exist.
        PlatformError: a server cannot be stopped, or the lock is held.
    """
    folder = EndpointFolder(endpoint)
    if not folder.path.is_dir():
        raise _no_endpoint(endpoint)
    check_output(endpoint, ENDPOINT, option="ENDPOINT")
    with locked(endpoint, timeout_s=lock_timeout_s):
        state = folder.read()
        # The state is written first, so that no client is sent to a server that is about to stop.
        if state is not None and state.pid is not None:
            folder.write(replace(state, url=None, pid=None), state)
        stop_strays(folder, None)


def status(endpoint: str) -> EndpointStatus:
    """The status of an endpoint, including the health of its server.

    Raises:
        UsageError: the endpoint does not exist.
        DataError: endpoint.json is damaged.
    """
    folder = EndpointFolder(endpoint)
    if not folder.path.is_dir():
        raise _no_endpoint(endpoint)
    state = folder.read()
    versions = tuple(folder.versions())
    if state is None:
        return EndpointStatus(None, None, None, None, None, False, versions, ())
    healthy = state.url is not None and client.healthy(state.url, state.live)
    return EndpointStatus(
        state.name, state.live, state.previous, state.url, state.pid, healthy, versions, state.history
    )


def _problem_name(model: str) -> str:
    where = storage.join(model, "problem.json")
    problem = storage.read_json(where)
    name = problem.get("name") if isinstance(problem, dict) else None
    if not isinstance(name, str) or not _NAME.match(name):
        raise DataError("the problem has no name", where=where, expected="a name", received=repr(name))
    return name


def _whole(version: Path) -> bool:
    """Whether a version's copy is there and not damaged; one that is damaged is published again."""
    try:
        verify(str(version))
    except DataError:
        return False
    return version.is_dir()


def _state_of(folder: EndpointFolder) -> EndpointState:
    state = folder.read() if folder.path.is_dir() else None
    if state is None:
        raise _no_endpoint(folder.uri)
    return state


def _no_endpoint(uri: str) -> UsageError:
    return UsageError("the endpoint does not exist", where=uri, expected="a folder that `headrace deploy` created")
