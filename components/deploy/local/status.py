"""Endpoint status: the state of the folder, and whether the router at its address agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy.local import client, control
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState, Mark, PendingChange, TrafficChange
from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.core.storage.lock import is_locked


@dataclass(frozen=True)
class EndpointStatus:
    """Status of an endpoint.

    Attributes:
        name: the model's name in URLs; None if no version was ever live.
        live: the version that is served; None if no version was ever live.
        previous: the version that a rollback would return to; None if there is none.
        url: URL of the endpoint; None if it was stopped.
        pid: process id of the live version's server; None if it does not run.
        healthy: whether the router responds with the state's traffic, and the live version responds.
        versions: the stored versions, sorted by name.
        history: the changes of the traffic, latest last.
        traffic: percentage of the requests by version.
        epoch: number of the last change.
        registry: name of the registry that the versions come from; "" if it is unknown.
        bad: marks by version, of versions that must not go live again.
        pending: an unfinished deployment, promotion or rollback; None if there is none.
        under_way: whether a process works on `pending` now.
        why_unhealthy: the reason, as text; "" if it is healthy.
        serving: the router's report by version: process, restarts, requests, errors, latency.
    """

    name: str | None
    live: str | None
    previous: str | None
    url: str | None
    pid: int | None
    healthy: bool
    versions: tuple[str, ...]
    history: tuple[TrafficChange, ...]
    traffic: Mapping[str, int] = field(default_factory=dict)
    epoch: int = 0
    registry: str = ""
    bad: Mapping[str, Mark] = field(default_factory=dict)
    pending: PendingChange | None = None
    under_way: bool = False
    why_unhealthy: str = ""
    serving: Mapping[str, Any] = field(default_factory=dict)

    @property
    def half_finished(self) -> str:
        """The unfinished change, as a sentence without its full stop; "" if there is none."""
        if self.live is None:
            begun = bool(self.versions) and not self.under_way
            return "the first deployment was begun and did not finish. Run it again" if begun else ""
        if self.pending is None:
            return ""
        one = self.pending
        what = f"the rollback from {one.bad} to {one.version}" if one.bad else f"the deployment of {one.version}"
        begun_by = f"begun by {one.who}, {one.at}"
        if self.under_way:
            return f"{what} is under way, {begun_by}"
        return f"{what} is half-finished, {begun_by}. Run the same command again"


def status(endpoint: str) -> EndpointStatus:
    """The status of an endpoint. It starts and changes nothing.

    Raises:
        UsageError: the endpoint does not exist.
        DataError: endpoint.json is damaged.
    """
    folder = EndpointFolder(endpoint)
    if not folder.path.is_dir():
        raise folder.missing()
    state = folder.read()
    versions = tuple(folder.versions())
    under_way = is_locked(endpoint)
    if state is None:
        why = "no version was ever live"
        return EndpointStatus(None, None, None, None, None, False, versions, (), under_way=under_way, why_unhealthy=why)
    report = None if state.stopped or not state.port else control.report_at(folder, state.port)
    serving = {} if report is None else report["versions"]
    why = _why_unhealthy(state, report)
    return EndpointStatus(
        state.name,
        state.live,
        state.previous,
        None if state.stopped else state.url,
        serving.get(state.live, {}).get("pid"),
        not why,
        versions,
        state.history,
        dict(state.traffic),
        state.epoch,
        state.registry,
        dict(state.bad),
        state.pending,
        under_way,
        why,
        serving,
    )


def _why_unhealthy(state: EndpointState, report: Mapping[str, Any] | None) -> str:
    if state.stopped:
        return "it was stopped"
    if not state.port:
        return "it was deployed by an earlier release, which had no router"
    if report is None:
        other = control.something_answers(state.port)
        return f"another program answers at {state.url}" if other else "the router does not run"
    if report["epoch"] != state.epoch:
        return f"the router is at epoch {report['epoch']}, the state at {state.epoch}"
    for version in state.traffic:
        one = report["versions"].get(version, {})
        if one.get("state") != "ready":
            error = one.get("error")
            return f"version {version} is {one.get('state', 'down')}{f': {error}' if error else ''}"
    if not client.healthy(str(state.url), state.live):
        return f"version {state.live} does not answer"
    return ""


@dataclass(frozen=True)
class ListedEndpoint:
    """An endpoint's folder and its status; if it cannot be read, the status is None and `error` the reason."""

    folder: str
    status: EndpointStatus | None
    error: str = ""


def endpoints_of(root: str) -> tuple[ListedEndpoint, ...]:
    """The endpoints of a pipeline root, sorted by name; empty if it has none."""
    found = storage.local_path(root) / "endpoints"
    folders = sorted(str(entry) for entry in found.iterdir() if entry.is_dir()) if found.is_dir() else []
    return tuple(map(_listed, folders))


def _listed(folder: str) -> ListedEndpoint:
    try:
        return ListedEndpoint(folder, status(folder))
    except HeadraceError as error:
        return ListedEndpoint(folder, None, error.paragraph)
