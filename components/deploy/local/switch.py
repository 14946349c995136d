"""Switch of an endpoint from the process of one version to that of another, under the endpoint's lock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.components.deploy.local import client, control, launcher
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.serving import ServerOptions
from headrace.components.deploy.state import Action, EndpointState
from headrace.components.registry.state import Origin
from headrace.components.serve import processes
from headrace.components.serve.processes import Announcement
from headrace.components.serve.tables.pinned import golden_rows, is_pinned
from headrace.core import storage
from headrace.core.artifacts.model import open_model
from headrace.core.errors import DataError, PlatformError
from headrace.core.progress import Progress

_SECONDS_BETWEEN_LOOKS = 0.05
# The router reads a change of the state within a fraction of a second.
_SWITCH_TIMEOUT_S = 30.0
_DRAIN_TIMEOUT_S = 45.0


@dataclass(frozen=True)
class LocalDeployResult:
    """Result of a deployment, a promotion or a rollback.

    Attributes:
        version: the version that is live now.
        previous: the version that a rollback would return to; None if there is none.
        url: URL of the endpoint.
        pid: process id of the version's server.
        checked_rows: number of golden rows, whose predictions over HTTP all agree.
    """

    version: str
    previous: str | None
    url: str
    pid: int
    checked_rows: int


class Switch:
    """Starts and checks a version's process, and gives it the traffic.

    Args:
        folder: folder of the endpoint.
        lock: descriptor of the endpoint's lock, which the caller holds.
        start_timeout_s: maximum time until a process responds, in seconds.
        report: receives progress.
        serving: options of the servers; None for the defaults.
        port: port of the endpoint; 0 for its current port, or at first a free one.
    """

    def __init__(
        self,
        folder: EndpointFolder,
        lock: int,
        start_timeout_s: float,
        report: Progress,
        serving: ServerOptions | None = None,
        port: int = 0,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._timeout_s = start_timeout_s
        self._report = report
        self._serving = serving or ServerOptions()
        self._port = port

    def to(self, version: str, name: str, action: Action, by: Origin, state: EndpointState | None) -> LocalDeployResult:
        """Gives all traffic to `version`. If it already has all traffic and its golden rows agree, it ends the intent.

        Args:
            version: a stored version.
            name: the model's name in URLs.
            action: action for the history.
            by: origin of the change.
            state: the state that was read under the lock, with the intent; None before the first deployment.

        Raises:
            UsageError: the port is in use.
            PlatformError: the process does not start, its predictions differ from the golden rows, or the router does
                not start or switch in time.
        """
        golden = read_golden(str(self._folder.version_path(version)))
        port = self._port or (state.port if state is not None else 0) or control.free_port()
        if state is not None and self._is_live(state, version, name, port):
            rows = self._live_rows(state, golden)
            pid = self._pid(port, version)
            if rows is not None and pid is not None:
                after = state.settled("deploy")
                if state.rollout is not None:
                    # A rollback of a canary that had no traffic yet.
                    after = state.switched(version, action, by, previous=state.previous)
                if after != state:
                    self._folder.write(after, state)
                return LocalDeployResult(version, state.previous, str(state.url), pid, rows)
        server, rows = self.prepare(version, name, state)
        try:
            control.ensure(self._folder, port, lambda: self._report("waiting for the router"))
            self._report("switching to the new server")
            after = replace(_after(state, name, version, action, by), port=port, stopped=False, **vars(self._serving))
            self._folder.write(after, state)
        except BaseException:
            # The router manages a process with traffic.
            written = self._folder.read()
            if written is None or version not in written.traffic:
                launcher.stop(server, self._folder.servers)
            if written is None:
                control.stop(self._folder)
            raise
        self.wait(after, version, server.pid)
        self._report("stopping the previous server")
        self._drained(after)
        return LocalDeployResult(version, after.previous, str(after.url), server.pid, rows)

    def prepare(self, version: str, name: str, state: EndpointState | None) -> tuple[Announcement, int]:
        """Starts a process of a stored version, or uses the one that has traffic, and checks its golden rows.

        Returns:
            The process, and the number of rows, which all agree.

        Raises:
            PlatformError: the process does not start, or a prediction differs. It is stopped, unless it has traffic.
        """
        golden = read_golden(str(self._folder.version_path(version)))
        server = self._ready(version, name, state)
        try:
            if server.url is None:
                raise PlatformError("the server did not announce its URL", where=str(self._folder.log))
            self._report("checking golden rows over HTTP")
            return server, client.check_golden(server.url, name, golden)
        except BaseException:
            if state is None or version not in state.traffic:
                launcher.stop(server, self._folder.servers)
            raise

    def _is_live(self, state: EndpointState, version: str, name: str, port: int) -> bool:
        same = (state.live, state.name, state.serving, state.port) == (version, name, self._serving, port)
        return same and dict(state.traffic) == {version: 100} and not state.stopped

    def _live_rows(self, state: EndpointState, golden: Mapping[str, Any]) -> int | None:
        """Number of golden rows if all agree at the endpoint's address; None if one differs or it does not respond."""
        if not client.healthy(str(state.url), state.live):
            return None
        try:
            return client.check_golden(str(state.url), state.name, golden)
        except PlatformError:
            return None

    def _pid(self, port: int, version: str) -> int | None:
        report = control.report_at(self._folder, port)
        found = (report or {}).get("versions", {}).get(version, {}).get("pid")
        return found if isinstance(found, int) else None

    def _ready(self, version: str, name: str, state: EndpointState | None) -> Announcement:
        """A process of the version: the one that has traffic, or a new one."""
        if state is not None and version in state.traffic and (state.name, state.serving) == (name, self._serving):
            for server in processes.running(str(self._folder.servers)):
                if server.version == version and server.url is not None and client.healthy(server.url, version):
                    return server
        elif state is None or version not in state.traffic:
            # A killed attempt left it, and its options are unknown.
            for server in processes.running(str(self._folder.servers)):
                if server.version == version:
                    launcher.stop(server, self._folder.servers)
        self._report("starting the server")
        return launcher.start(
            self._folder.version_path(version),
            name,
            version,
            serving=self._serving,
            servers=self._folder.servers,
            log=self._folder.log,
            lock=self._lock,
            timeout_s=self._timeout_s,
            waiting=lambda: self._report("waiting for the server"),
        )

    def wait(self, state: EndpointState, version: str, pid: int | None = None) -> None:
        """Waits until the router uses the traffic of the state, with a process of `version`, or with the process `pid`.

        Raises:
            PlatformError: the router does not switch within 30 s.
        """
        deadline = time.monotonic() + _SWITCH_TIMEOUT_S
        while True:
            report = control.report_at(self._folder, state.port)
            if report is not None and report["epoch"] >= state.epoch:
                answering = report["versions"].get(version, {})
                if answering.get("pid") is not None and pid in (None, answering["pid"]):
                    return
            if time.monotonic() > deadline:
                raise PlatformError(
                    "the router did not switch in time",
                    where=str(self._folder.router_log),
                    expected=f"epoch {state.epoch} within {_SWITCH_TIMEOUT_S:g} s",
                    received="no answer" if report is None else f"epoch {report['epoch']}",
                    fix="Run the same command again",
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _drained(self, state: EndpointState) -> None:
        """Waits until the router has stopped the processes without traffic, after their last requests."""
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        while time.monotonic() < deadline:
            if all(server.version in state.traffic for server in processes.running(str(self._folder.servers))):
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def stop_servers(folder: EndpointFolder) -> None:
    """Stops every version's process of an endpoint whose router does not run."""
    for server in processes.running(str(folder.servers)):
        launcher.stop(server, folder.servers)


def read_golden(model: str) -> Mapping[str, Any]:
    """The golden rows of a Model, or keys of a pinned table, with their predictions.

    Returns:
        The members `instances` and `predictions`, lists of equal length, 1 or more.

    Raises:
        UsageError: the folder contains no Model.
        DataError: the Model has no golden rows.
    """
    golden = golden_rows(model) if is_pinned(model) else open_model(model).golden() or {}
    instances: Any = golden.get("instances")
    predictions: Any = golden.get("predictions")
    lists = isinstance(instances, list) and isinstance(predictions, list)
    if not lists or not 1 <= len(instances) == len(predictions):
        raise DataError(
            "the Model has no golden rows to check the server with",
            where=storage.join(model, "golden.json"),
            expected='{"instances": [...], "predictions": [...]}, as many of each, one or more',
        )
    return golden


def _after(state: EndpointState | None, name: str, version: str, action: Action, by: Origin) -> EndpointState:
    if state is None:
        return EndpointState(name, version, None).switched(version, action, by, previous=None)
    if dict(state.traffic) == {version: 100}:
        # The process of the live version was gone. It is served again, which is no change of the traffic.
        return replace(state, name=name).settled("deploy")
    # After a canary, `previous` does not change. After a rollback to an older version, there is no previous one.
    previous = state.previous if state.live == version else None if action == "rollback" else state.live
    return replace(state, name=name).switched(version, action, by, previous=previous)
