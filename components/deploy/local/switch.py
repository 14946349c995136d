"""Endpoint switch from one version's server to another's, under the endpoint's lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.components.deploy.local import client, launcher
from headrace.components.deploy.local.endpoint import Action, EndpointFolder, EndpointState
from headrace.components.serve import processes
from headrace.components.serve.processes import Announcement
from headrace.core import storage
from headrace.core.artifacts.model import open_model
from headrace.core.errors import DataError, PlatformError
from headrace.core.progress import Progress
from headrace.core.rules.mode import Mode


@dataclass(frozen=True)
class DeployResult:
    """Result of a deployment or a rollback.

    Attributes:
        version: the version that is live now.
        previous: the version that a rollback would restore.
        url: of the server.
        pid: process id of the server.
        checked_rows: number of golden rows whose predictions over HTTP agreed.
    """

    version: str
    previous: str | None
    url: str
    pid: int
    checked_rows: int


class Switch:
    """Starts and checks a version's server, and makes it the live one."""

    def __init__(
        self, folder: EndpointFolder, lock: int, start_timeout_s: float, report: Progress, rules: Mode = "enforce"
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._timeout_s = start_timeout_s
        self._report = report
        self._rules = rules

    def to(self, version: str, name: str, action: Action, state: EndpointState | None) -> DeployResult:
        """Makes `version` live; if it is live and its golden rows agree, nothing changes."""
        golden = read_golden(str(self._folder.version_path(version)))
        if state is not None and (state.live, state.name, state.rules) == (version, name, self._rules):
            rows = self._live_rows(state, golden)
            if rows is not None and state.url is not None and state.pid is not None:
                return DeployResult(version, state.previous, state.url, state.pid, rows)
        server = self._start(version, name)
        if server.url is None:
            raise PlatformError("the server did not announce its URL", where=str(self._folder.log))
        try:
            self._report("checking golden rows over HTTP")
            rows = client.check_golden(server.url, name, golden)
            self._report("switching to the new server")
            after = replace(_after(state, name, version, action, server.url, server.pid), rules=self._rules)
            self._folder.write(after, state)
        except BaseException:
            # Unless the switch had happened before a signal arrived.
            written = self._folder.read()
            if written is None or written.pid != server.pid:
                launcher.stop(server, self._folder.servers)
            raise
        self._report("stopping the previous server")
        stop_strays(self._folder, after)
        return DeployResult(version, after.previous, server.url, server.pid, rows)

    def _live_rows(self, state: EndpointState, golden: Mapping[str, Any]) -> int | None:
        """Number of golden rows that agree on the live server, or None if any differs."""
        if state.url is None or not client.healthy(state.url, state.live):
            return None
        try:
            return client.check_golden(state.url, state.name, golden)
        except PlatformError:
            return None

    def _start(self, version: str, name: str) -> Announcement:
        self._report("starting the server")
        return launcher.start(
            self._folder.version_path(version),
            name,
            version,
            rules=self._rules,
            servers=self._folder.servers,
            log=self._folder.log,
            lock=self._lock,
            timeout_s=self._timeout_s,
            waiting=lambda: self._report("waiting for the server"),
        )


def stop_strays(folder: EndpointFolder, state: EndpointState | None) -> None:
    """Stops every server of the endpoint except the live one."""
    for server in processes.running(str(folder.servers)):
        if state is None or server.pid != state.pid:
            launcher.stop(server, folder.servers)


def read_golden(model: str) -> Mapping[str, Any]:
    """The golden rows of a Model, with its predictions for them.

    Raises:
        UsageError: the folder holds no Model.
        DataError: the Model has no golden rows.
    """
    golden = open_model(model).golden() or {}
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


def _after(state: EndpointState | None, name: str, version: str, action: Action, url: str, pid: int) -> EndpointState:
    if state is None:
        return EndpointState(name, version, None, None, None).switched(version, action, previous=None, url=url, pid=pid)
    if state.live == version:
        # Its server was gone: the same version is served again, and nothing new went live.
        return replace(state, name=name, url=url, pid=pid)
    previous = state.live if action == "deploy" else None
    return replace(state, name=name).switched(version, action, previous=previous, url=url, pid=pid)
