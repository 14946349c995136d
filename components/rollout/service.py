"""Rollout at Vertex AI or KServe: one step of a canary per call, which a schedule or a pipeline calls again.

Nothing waits for evidence here: each call finishes what an earlier one intended, reads the counts that the servers
wrote, decides, writes what it intends, and does it. The state machine and the decision are those of a local endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceEndpoint
from headrace.components.deploy.canary.decide import decide
from headrace.components.deploy.canary.evidence import Evidence, VersionTraffic
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.canary.state import CanaryState, stage
from headrace.components.deploy.rollout import Rollout
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.deploy.unfinished import refuse_marked, refuse_unfinished
from headrace.components.registry.origin import Clock, origin, this_user, utc_now
from headrace.components.registry.state import Origin
from headrace.components.request_log.traffic import Traffic, counted_until, read_traffic
from headrace.components.rollback.promote import promote
from headrace.components.rollback.rollback import rollback
from headrace.components.rollout.evidence import evidence_of, first_evidence, traffic_of
from headrace.core.errors import GateRefused, PlatformError
from headrace.core.progress import Progress, silent

if TYPE_CHECKING:
    from headrace.components.deploy.canary.replay import ReplayEvidence

Outcome = Literal["under way", "promoted", "rolled back", "withdrawn", "live"]
# Changes after which a version without traffic is not tried again by itself.
_ENDED = ("canary", "withdraw")


@dataclass(frozen=True)
class ServiceRolloutConfig:
    """Options of a canary at a service.

    Args:
        version: that is tried; it is deployed, with or without traffic.
        traffic_log: where the servers of both versions write their counts.
        settings: of the canary.
        registry: of the versions; "" for the one that the endpoint knows.
        again: whether a version whose canary was withdrawn is tried again.
        why: for the history.
    """

    version: str
    traffic_log: str
    settings: CanarySettings = field(default_factory=CanarySettings)
    registry: str = ""
    again: bool = False
    why: str = ""


@dataclass(frozen=True)
class RolloutStep:
    """Where a canary is after one step.

    Attributes:
        version: that is tried.
        outcome: under way: call again; promoted; rolled back, on evidence, and marked as bad; withdrawn, without enough
            evidence at the deadline, or by a person; or live, where it had all traffic before.
        live: the version that other versions are compared with.
        traffic: percentage of the requests by version, as the service gives it.
        reasons: sentences, the deciding one first.
    """

    version: str
    outcome: Outcome
    live: str
    traffic: Mapping[str, int]
    reasons: tuple[str, ...]


def advance(
    endpoint: ServiceEndpoint,
    config: ServiceRolloutConfig,
    report: Progress = silent,
    *,
    replayed: Callable[[str, str, datetime], ReplayEvidence] | None = None,
    now: Clock = utc_now,
) -> RolloutStep:
    """Takes one step of a canary: stages it, widens it, promotes it, rolls it back, or leaves it as it is.

    A call that was killed is finished by the next one. Of two calls at once, one is refused.

    Args:
        endpoint: of the service.
        config: of the canary.
        report: receives progress.
        replayed: returns all logged requests that both versions scored, given the stable version, the canary and the
            time at which it was staged; None for no replay.
        now: the time.

    Raises:
        UsageError: the endpoint serves no version, or the version is not deployed.
        GateRefused: the version is marked as bad, or archived.
        DataError: the state or the traffic log is damaged.
        PlatformError: the service failed, another change is under way, or another version has traffic.
    """
    return _Step(endpoint, config, report, replayed, now()).take()


class _Step:
    """One step."""

    def __init__(
        self,
        endpoint: ServiceEndpoint,
        config: ServiceRolloutConfig,
        report: Progress,
        replayed: Callable[[str, str, datetime], ReplayEvidence] | None,
        now: datetime,
    ) -> None:
        self._endpoint = endpoint
        self._config = config
        self._report = report
        self._replayed = replayed
        self._now = now
        self._registry = config.registry or endpoint.registry()
        # Whether the registry has the version, and does not mark it.
        self._usable = False

    def take(self) -> RolloutStep:
        """Takes the step."""
        state = self._endpoint.state()
        ended = self._ended(state)
        if ended is not None:
            return ended
        rollout = state.rollout
        if rollout is None:
            state = self._stage(state)
        elif state.pending is not None:
            state = self._carry_out(state)
        elif dict(state.traffic) != _wanted(rollout.canary):
            state = self._begin_step_again(state, rollout)
        if state.rollout is None:
            return self._result(state, "withdrawn", (state.history[-1].why,))
        return self._decide(state, state.rollout)

    def _ended(self, state: EndpointState) -> RolloutStep | None:
        """The end of a canary that was decided before, once its last steps are done; None while it is not decided."""
        version, pending = self._config.version, state.pending
        if pending is not None and pending.action == "rollback" and pending.bad == version:
            return self._roll_back((pending.why,))
        if pending is not None and pending.action == "promote" and pending.version == version:
            return self._promote(state, pending)
        refuse_unfinished(self._endpoint.where, state, version)
        if state.live == version:
            return self._result(state, "live", (f"{version} is live.",))
        self._usable = registries.refuse_bad(self._registry, version)
        if not self._usable:
            refuse_marked(self._endpoint.where, state, version)
        last = next((change for change in reversed(state.history) if change.version == version), None)
        if state.rollout is None and last is not None and last.action in _ENDED and not self._config.again:
            why = last.why if last.action == "withdraw" else "The canary's traffic was removed by hand."
            return self._result(state, "withdrawn", (why,))
        return None

    def _stage(self, state: EndpointState) -> EndpointState:
        """Writes the intent to try the version; it must be deployed, and no third one may have traffic."""
        version, where, usable = self._config.version, self._endpoint.where, self._usable
        others = {one: percent for one, percent in state.traffic.items() if one not in (state.live, version)}
        if others:
            raise PlatformError("a third version has traffic", where=where, received=str(others))
        self._endpoint.check(version)
        self._report(f"staging {version}")
        by = origin(self._config.why)
        canary = stage(state.live, version, self._config.settings, by.who, by.why, self._now, epoch=state.epoch + 1)
        known = state.restored(version) if usable else state
        self._endpoint.write(known.staged(_intent(version, by), Rollout(canary, first_evidence())), state)
        if usable:
            registries.challenge(self._registry, version, by.why)
        return self._endpoint.state()

    def _carry_out(self, state: EndpointState) -> EndpointState:
        """Gives the versions the traffic that the canary's state intends, and notes that it is done."""
        rollout, pending = state.rollout, state.pending
        if rollout is None or pending is None or rollout.canary.stage == "staged":
            return state
        wanted = _wanted(rollout.canary)
        self._endpoint.split(wanted, self._report)
        now = self._endpoint.state()
        if now.rollout != rollout or now.pending != pending:
            raise PlatformError("another process changed the endpoint at the same time", where=self._endpoint.where)
        by = Origin(pending.who, pending.at, pending.why)
        ends = rollout.canary.stage == "rolled_back"
        self._endpoint.write(now.withdrawn(by) if ends else now.widened(rollout, by), now)
        return self._endpoint.state()

    def _begin_step_again(self, state: EndpointState, rollout: Rollout) -> EndpointState:
        """Gives a canary its part again after somebody changed it; its step begins anew, as its counts are of both."""
        others = set(state.traffic) - {rollout.canary.stable, rollout.canary.canary}
        if others:
            raise PlatformError(
                "a third version has traffic",
                where=self._endpoint.where,
                received=str(dict(state.traffic)),
                fix=f"End the canary: headrace rollback {self._endpoint.where}",
            )
        why = "Somebody changed the traffic: the step begins again."
        self._report(why)
        canary = replace(rollout.canary, epoch=rollout.canary.epoch + 1, at=self._now, who=this_user(), why=why)
        again = _begun(canary, rollout.evidence, self._traffic(rollout))
        return self._intend(state, again, (why,))

    def _decide(self, state: EndpointState, rollout: Rollout) -> RolloutStep:
        canary, traffic = rollout.canary, self._traffic(rollout)
        replayed = None
        if self._replayed is not None and canary.stage == "canary":
            replayed = self._replayed(canary.stable, canary.canary, canary.begun)
        evidence = evidence_of(rollout, _by_version(traffic), replayed)
        decision = decide(canary, evidence, self._now)
        if decision.worse:
            return self._roll_back(decision.reasons)
        if decision.action == "promote":
            pending = PendingChange("promote", canary.canary, **vars(origin(" ".join(decision.reasons))))
            self._endpoint.write(state.begun(pending), state)
            return self._promote(self._endpoint.state(), pending)
        if decision.action == "stay":
            return self._result(state, "under way", decision.reasons)
        after = _begun(canary.after(decision, this_user(), self._now), evidence, traffic)
        state = self._intend(state, after, decision.reasons)
        outcome: Outcome = "withdrawn" if decision.action == "roll back" else "under way"
        return self._result(state, outcome, decision.reasons)

    def _intend(self, state: EndpointState, rollout: Rollout, reasons: tuple[str, ...]) -> EndpointState:
        """Writes a step as the intent, and carries it out."""
        pending = _intent(rollout.canary.canary, origin(" ".join(reasons)))
        self._endpoint.write(replace(state, rollout=rollout, pending=pending), state)
        return self._carry_out(self._endpoint.state())

    def _traffic(self, rollout: Rollout) -> Traffic:
        # Where the clock was set back, or is of another machine, no counts are read that are older than the baseline.
        until = max(counted_until(self._now.timestamp()), rollout.counted)
        versions = (rollout.canary.stable, rollout.canary.canary)
        return read_traffic(self._config.traffic_log, versions, until, self._endpoint.deployments())

    def _promote(self, state: EndpointState, pending: PendingChange) -> RolloutStep:
        by = Origin(pending.who, pending.at, pending.why)
        promote(self._endpoint, pending.version, by, self._report, registry=self._registry)
        now = self._endpoint.state()
        settled = now.settled("promote").settled("deploy")
        if settled != now:
            self._endpoint.write(settled, now)
        return self._result(settled, "promoted", (pending.why,))

    def _roll_back(self, reasons: tuple[str, ...]) -> RolloutStep:
        rollback(self._endpoint, self._report, why=" ".join(reasons), registry=self._registry)
        return self._result(self._endpoint.state(), "rolled back", reasons)

    def _result(self, state: EndpointState, outcome: Outcome, reasons: tuple[str, ...]) -> RolloutStep:
        return RolloutStep(self._config.version, outcome, state.live, dict(state.traffic), reasons)


def _by_version(traffic: Traffic) -> dict[str, VersionTraffic]:
    return {version: traffic_of(counts) for version, counts in traffic.counts.items()}


def _begun(canary: CanaryState, evidence: Evidence, traffic: Traffic) -> Rollout:
    """A canary whose present step begins with the traffic so far."""
    return Rollout(canary, evidence, _by_version(traffic), traffic.until)


def _wanted(canary: CanaryState) -> dict[str, int]:
    return {version: percent for version, percent in canary.traffic.items() if percent}


def _intent(version: str, by: Origin) -> PendingChange:
    return PendingChange("deploy", version, **vars(by))


def raise_for_step(step: RolloutStep, where: str) -> None:
    """Raises the error of a canary that ended without being promoted.

    Raises:
        GateRefused: it was rolled back.
        PlatformError: it was withdrawn.
    """
    received = " ".join(step.reasons)
    if step.outcome == "rolled back":
        raise GateRefused(
            f"the canary was rolled back, and {step.live} has all traffic", where=where, received=received
        )
    if step.outcome == "withdrawn":
        raise PlatformError(
            f"the canary was withdrawn, and {step.live} has all traffic",
            where=where,
            received=received,
            fix="Try again with more traffic, a later deadline (--watch) or a smaller --minimum-requests, and --again",
        )
