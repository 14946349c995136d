"""Endpoint state: versions, traffic, marks and the history, as one immutable value.

The functions are pure. Traffic is whole percentages that sum to 100. Every change records its author, its time, its
reason and its epoch, which is one more than that of the previous change. A change of several steps, such as a
deployment or a rollback, is written as `pending` before its first effect, so that the same command completes a killed
one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from headrace.components.deploy.rollout import Rollout
from headrace.components.deploy.serving import ServerOptions
from headrace.components.registry.state import Origin
from headrace.components.registry.version_name import check_version
from headrace.core.errors import DataError
from headrace.core.rules.mode import Mode

Action = Literal["deploy", "canary", "withdraw", "promote", "rollback"]

FORMAT = 2
# Maximum length of the history; the registry records all versions.
_HISTORY = 100


@dataclass(frozen=True)
class TrafficChange:
    """A change of the traffic.

    Attributes:
        version: the version that was changed.
        action: deploy, canary, withdraw (a canary without enough evidence), promote or rollback.
        at: time, ISO 8601 in UTC.
        who: USER@HOST, or the name of an account; "" for a change before format 2.
        why: the reason, as text; "" if it is not given.
        epoch: number of the change, from 1.
        traffic: percentage by version after the change.
    """

    version: str
    action: str
    at: str
    who: str = ""
    why: str = ""
    epoch: int = 0
    traffic: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """Mark of a bad version, which must not go live again.

    Attributes:
        who, at, why: as of `Origin`.
    """

    who: str
    at: str
    why: str = ""


@dataclass(frozen=True)
class PendingChange:
    """A deployment, a promotion or a rollback whose steps are not all done.

    Attributes:
        action: deploy, promote or rollback.
        version: the version that gets the traffic.
        bad: the version that a rollback marks as bad; "" for other actions.
        predictions: the folder of published predictions that is rolled back as well; "" for none.
        who, at, why: as of `Origin`.
    """

    action: Literal["deploy", "promote", "rollback"]
    version: str
    bad: str = ""
    predictions: str = ""
    who: str = ""
    at: str = ""
    why: str = ""


@dataclass(frozen=True)
class EndpointState:
    """Content of endpoint.json.

    Attributes:
        name: the model's name in URLs.
        live: the version that is served; during a canary, the version that it is compared with.
        previous: the version that a rollback returns to; None if there is none.
        history: the last 100 changes, latest last.
        rules, table, cache_rows, log_share: as of `ServerOptions`.
        traffic: percentage of the requests by version; by default, all for the live version.
        epoch: number of the last change of the traffic.
        registry: name of the registry that the versions come from; "" if it is unknown.
        bad: marks by version, of versions that must not go live again.
        pending: a deployment, a promotion or a rollback that is under way or was killed; None if there is none.
        rollout: the canary under way; None if there is none.
        port: port of a local endpoint's router, which never changes; 0 before it has one, and for other endpoints.
        stopped: whether a local endpoint was stopped.

    Raises:
        DataError: the traffic is not whole percentages that sum to 100, or the live version has none.
    """

    name: str
    live: str
    previous: str | None
    history: tuple[TrafficChange, ...] = ()
    rules: Mode = "enforce"
    table: str = ""
    cache_rows: int = 0
    log_share: float = 0.0
    traffic: Mapping[str, int] = field(default_factory=dict)
    epoch: int = 0
    registry: str = ""
    bad: Mapping[str, Mark] = field(default_factory=dict)
    pending: PendingChange | None = None
    rollout: Rollout | None = None
    port: int = 0
    stopped: bool = False

    @property
    def serving(self) -> ServerOptions:
        """Options of the servers."""
        return ServerOptions(self.rules, self.table, self.cache_rows, self.log_share)

    @property
    def canary(self) -> str | None:
        """The version that the canary tests, with or without traffic yet; None if there is no canary."""
        return None if self.rollout is None else self.rollout.canary.canary

    @property
    def url(self) -> str | None:
        """The URL of a local endpoint's router; None if it has no port."""
        return f"http://127.0.0.1:{self.port}" if self.port else None

    def __post_init__(self) -> None:
        if not self.traffic:
            object.__setattr__(self, "traffic", {self.live: 100})
        whole = all(isinstance(p, int) and not isinstance(p, bool) and 0 < p <= 100 for p in self.traffic.values())
        if not whole or sum(self.traffic.values()) != 100 or self.live not in self.traffic:
            raise DataError(
                "the traffic of the endpoint is not valid",
                where=self.name,
                expected=f"whole percentages that sum to 100, some of them for {self.live}",
                received=str(dict(self.traffic)),
            )

    def switched(self, version: str, action: Action, by: Origin, *, previous: str | None) -> EndpointState:
        """The state after `version` got all traffic. It ends a canary and a pending deployment."""
        after = self._shifted({version: 100}, version, action, by, live=version, previous=previous, rollout=None)
        return after.settled("deploy")

    def staged(self, pending: PendingChange, rollout: Rollout) -> EndpointState:
        """The state with a canary that gets no traffic yet."""
        return replace(self, pending=pending, rollout=rollout)

    def widened(self, rollout: Rollout, by: Origin) -> EndpointState:
        """The state after the canary got a step of the traffic."""
        canary = rollout.canary
        after = self._shifted(dict(canary.traffic), canary.canary, "canary", by, rollout=rollout)
        return after.settled("deploy")

    def withdrawn(self, by: Origin) -> EndpointState:
        """The state after the live version got the canary's traffic back. The canary is not marked as bad."""
        if self.canary is None:
            return self
        after = self._shifted({self.live: 100}, self.canary, "withdraw", by, rollout=None)
        return after.settled("deploy")

    def _shifted(
        self, traffic: Mapping[str, int], version: str, action: Action, by: Origin, **fields: Any
    ) -> EndpointState:
        change = TrafficChange(version, action, by.at, by.who, by.why, self.epoch + 1, traffic)
        history = (*self.history, change)[-_HISTORY:]
        return replace(self, traffic=traffic, epoch=change.epoch, history=history, **fields)

    def begun(self, pending: PendingChange) -> EndpointState:
        """The state with an intent, before its first effect. A rollback also marks its version `bad` as bad."""
        if pending.action != "rollback":
            return replace(self, pending=pending)
        return replace(self, pending=pending).marked_bad(pending.bad, Origin(pending.who, pending.at, pending.why))

    def settled(self, action: Literal["deploy", "promote", "rollback"]) -> EndpointState:
        """The state after the last step of an action: removes it from `pending`, unless that is another action."""
        return self if self.pending is None or self.pending.action != action else replace(self, pending=None)

    def marked_bad(self, version: str, by: Origin) -> EndpointState:
        """The state in which `version` must not go live again, and is not `previous`. An existing mark is retained."""
        bad = {**self.bad, version: self.bad.get(version, Mark(by.who, by.at, by.why))}
        return replace(self, bad=bad, previous=None if self.previous == version else self.previous)

    def restored(self, version: str) -> EndpointState:
        """The state without the mark of a version."""
        return replace(self, bad={name: mark for name, mark in self.bad.items() if name != version})

    def to_json(self) -> dict[str, Any]:
        """The content of endpoint.json."""
        rollout = None if self.rollout is None else self.rollout.to_json()
        return {"format": FORMAT, **asdict(replace(self, rollout=None)), "rollout": rollout, "url": self.url}

    def before(self, unusable: Collection[str] = ()) -> str | None:
        """The version that a rollback returns to: `previous`, or the last one in the history that is not bad.

        Args:
            unusable: versions that the registry marks as bad or archived.

        Returns:
            The version; None if there is none.
        """
        barred = {self.live, *self.bad, *unusable}
        if self.previous is not None and self.previous not in barred:
            return self.previous
        return next((c.version for c in reversed(self.history) if c.version not in barred), None)


def state_of(content: Any, where: str) -> EndpointState:
    """The state in endpoint.json, of format 2, or of format 1, which has no traffic, epochs or registry.

    Args:
        content: JSON value of the file.
        where: URI of the file, for an error.

    Raises:
        DataError: the file is damaged, or of a later format.
    """
    try:
        if content.get("format", 1) not in (1, FORMAT):
            raise DataError(
                "endpoint.json is of another format",
                where=where,
                expected=f"format 1 or {FORMAT}",
                received=repr(content["format"]),
                fix="Use the release of headrace that wrote it, or a later one",
            )
        live = check_version(content["live"], where, DataError)
        history = tuple(TrafficChange(**change) for change in content["history"])
        pending = content.get("pending")
        return EndpointState(
            name=content["name"],
            live=live,
            previous=content["previous"],
            history=history,
            rules=content.get("rules", "enforce"),
            table=content.get("table", ""),
            cache_rows=content.get("cache_rows", 0),
            log_share=content.get("log_share", 0.0),
            traffic=content.get("traffic", {live: 100}),
            epoch=content.get("epoch", len(history)),
            registry=content.get("registry", ""),
            bad={version: Mark(**mark) for version, mark in content.get("bad", {}).items()},
            pending=None if pending is None else PendingChange(**pending),
            rollout=None if content.get("rollout") is None else Rollout.from_json(content["rollout"], where),
            port=content.get("port", 0),
            stopped=content.get("stopped", False),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("endpoint.json is damaged", where=where, received=repr(error)) from error
