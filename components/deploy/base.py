"""Endpoint interface, shared by the endpoints of this machine, of Vertex AI and of KServe."""

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
    """Current status of an endpoint, as reported by its service.

    Attributes:
        traffic: percentage of the requests by version, which sum to 100; {} if no version is served.
        url: URL of predictions; "" if there is none.
        ready: whether it serves its traffic.
        why: the reason if it is not ready; "" if it is ready.
    """

    traffic: Mapping[str, int]
    url: str = ""
    ready: bool = True
    why: str = ""


class Endpoint(Protocol):
    """An endpoint with a history. Its state is the intent, which is then applied to the service.

    Attributes:
        where: name or folder of the endpoint.
    """

    @property
    def where(self) -> str: ...

    def changing(self) -> AbstractContextManager[object]:
        """A context that is held during a change. A concurrent change waits, or is refused."""

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
        """Name of the registry that the versions come from; "" if it is unknown."""

    def check(self, version: str) -> None:
        """Checks that a version can get traffic.

        Raises:
            UsageError: the endpoint does not have the version.
            DataError: the version is damaged.
        """

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        """Gives all traffic to the version of `pending`, after a check if one is possible. Repeating changes nothing.

        Returns:
            What was done, as a sentence without its full stop.

        Raises:
            PlatformError: the version does not respond, or the service failed. The traffic did not change.
        """

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Gives all traffic to a version of the endpoint; returns and errors as of `shift`."""

    def undeploy(self, version: str) -> None:
        """Removes a version without traffic from the endpoint.

        Raises:
            UsageError: the version has traffic.
        """

    def status(self) -> ServiceStatus:
        """The current status, as reported by the service."""

    def history(self) -> tuple[TrafficChange, ...]:
        """The changes of the traffic, latest last."""


class ServiceEndpoint(Endpoint, Protocol):
    """An endpoint of a service, whose traffic can be split between two versions that run there."""

    def deployments(self) -> Mapping[str, str]:
        """Ids of the deployments by version, which their servers log; {} if the service assigns no ids."""

    def split(self, traffic: Mapping[str, int], report: Progress) -> None:
        """Splits the traffic between versions, and waits until the service applies it. Repeating changes nothing.

        Args:
            traffic: percentage by version, 1 to 100, which sum to 100: the live version, and at most one canary.
            report: receives progress.

        Raises:
            UsageError: the endpoint does not have a version.
            PlatformError: the service failed, or gives the traffic to other versions.
        """
