"""Endpoint interface: what the endpoints of this machine, of Vertex AI and of KServe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from headrace.components.deploy.state import EndpointState, PendingChange, TrafficChange
from headrace.components.registry.state import Origin
from headrace.core.progress import Progress


@dataclass(frozen=True)
class ServiceStatus:
    """What the service of an endpoint says now.

    Attributes:
        traffic: percentage of the requests by version; they sum to 100. {} where nothing is served.
        url: where it answers; "" where it does not.
        ready: whether it serves its traffic.
        why: the reason where it is not ready; "" where it is.
    """

    traffic: Mapping[str, int]
    url: str = ""
    ready: bool = True
    why: str = ""


class Endpoint(Protocol):
    """An endpoint with a history. Its state is the intent, and the service is made to follow it.

    Attributes:
        where: its name or folder.
    """

    @property
    def where(self) -> str: ...

    def changing(self) -> AbstractContextManager[object]:
        """Held during a change: another one waits, or is refused."""

    def state(self) -> EndpointState:
        """Versions, traffic, marks and history.

        Raises:
            UsageError: the endpoint does not exist, or no version was ever live.
            DataError: the state is damaged.
        """

    def write(self, state: EndpointState, before: EndpointState) -> None:
        """Replaces the state, if it is still `before`.

        Raises:
            PlatformError: another process changed it in between.
        """

    def registry(self) -> str:
        """The registry that the versions come from; "" if unknown."""

    def check(self, version: str) -> None:
        """Refuses a version that cannot get traffic: it is not there, or damaged.

        Raises:
            UsageError: it is not there.
            DataError: it is damaged.
        """

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        """Gives all traffic to the version of `pending`, checked first where that is possible; again, nothing changes.

        Returns:
            What was done, as a sentence without its full stop.

        Raises:
            PlatformError: the version does not answer, or the service failed: the traffic did not change.
        """

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Gives all traffic to a version of the endpoint; returns and errors as of `shift`."""

    def undeploy(self, version: str) -> None:
        """Takes away a version without traffic.

        Raises:
            UsageError: it has traffic.
        """

    def status(self) -> ServiceStatus:
        """What the service says now."""

    def history(self) -> tuple[TrafficChange, ...]:
        """The changes of the traffic, latest last."""


class ServiceEndpoint(Endpoint, Protocol):
    """An endpoint of a service, whose traffic can be split between two versions that run there."""

    def deployments(self) -> Mapping[str, str]:
        """Ids of the deployments by version, as their servers know them; {} where the service gives them none."""

    def split(self, traffic: Mapping[str, int], report: Progress) -> None:
        """Gives versions their parts of the traffic, and waits until the service does so; again, nothing changes.

        Args:
            traffic: percentage by version, 1 to 100, which sum to 100: the live version, and a canary or none.
            report: receives progress.

        Raises:
            UsageError: a version is not there.
            PlatformError: the service failed, or gives the traffic to other versions.
        """
