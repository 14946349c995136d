"""Local endpoint: a folder, a router and processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceStatus
from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.status import status
from headrace.components.deploy.local.switch import Switch
from headrace.components.deploy.state import EndpointState, PendingChange, TrafficChange
from headrace.components.registry.state import Origin
from headrace.core.artifacts.registered import verify
from headrace.core.errors import PlatformError
from headrace.core.ledger.claim import Claim
from headrace.core.progress import Progress
from headrace.core.storage.lock import locked


class LocalEndpoint:
    """An endpoint of this machine; methods as of `base.Endpoint`.

    Args:
        folder: the endpoint's folder.
        start_timeout_s: maximum time until a process responds, in seconds.
        lock_timeout_s: maximum time to wait for another deployment, in seconds.
        claim: claim of the run that makes the changes, as of `EndpointFolder`.
    """

    def __init__(
        self,
        folder: str,
        *,
        start_timeout_s: float = 120.0,
        lock_timeout_s: float = 300.0,
        claim: Claim | None = None,
    ) -> None:
        self.folder = EndpointFolder(folder, claim)
        self._start_timeout_s = start_timeout_s
        self._lock_timeout_s = lock_timeout_s
        self._lock: int | None = None

    @property
    def where(self) -> str:
        """The endpoint's folder."""
        return self.folder.uri

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the endpoint's lock."""
        self.folder.existing()
        with locked(self.folder.uri, timeout_s=self._lock_timeout_s) as lock:
            self._lock = lock
            try:
                yield
            finally:
                self._lock = None

    def state(self) -> EndpointState:
        """The state in endpoint.json."""
        return self.folder.existing()

    def write(self, state: EndpointState, before: EndpointState) -> None:
        """Replaces endpoint.json."""
        self.folder.write(state, before)

    def registry(self) -> str:
        """The registry that the last deployment recorded."""
        return self.state().registry

    def check(self, version: str) -> None:
        """Verifies a stored version. A version that is not stored is copied from the registry first."""
        state = self.state()
        if not self.folder.version_path(version).is_dir():
            model = registries.model_of(state.registry, version)
            if model is not None:
                self.folder.publish(model, version)
        self.folder.check_stored(version)
        verify(str(self.folder.version_path(version)))

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        """Starts and checks the version's process, and switches to it."""
        before, by = state.live, Origin(pending.who, pending.at, pending.why)
        result = self._switch(state, report).to(pending.version, state.name, "rollback", by, state)
        left = pending.bad if pending.bad != before else before
        return f"{result.version} has all traffic at {result.url}, and {left} none ({result.checked_rows} rows checked)"

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Promotes a stored version."""
        result, _ = operate.promote(self.where, version, report, why=by.why)
        return f"{result.version} has all traffic at {result.url} ({result.checked_rows} rows checked)"

    def undeploy(self, version: str) -> None:
        """Removes a stored version."""
        operate.undeploy(self.where, version)

    def status(self) -> ServiceStatus:
        """The current status, as reported by the router."""
        found = status(self.where)
        traffic = dict(found.traffic) if found.healthy else {}
        return ServiceStatus(traffic, found.url or "", found.healthy, found.why_unhealthy)

    def history(self) -> tuple[TrafficChange, ...]:
        """The changes of the traffic."""
        return self.state().history

    def _switch(self, state: EndpointState, report: Progress) -> Switch:
        if self._lock is None:
            raise PlatformError("the endpoint's lock is not held", where=self.where)
        return Switch(self.folder, self._lock, self._start_timeout_s, report, state.serving)
