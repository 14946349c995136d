"""Rollout on Vertex AI or KServe: one step of a canary per call, repeated by a schedule or a pipeline.

No call waits for evidence. Each call completes an unfinished change of an earlier call, reads the counts that the
servers wrote, decides, records the intended change, and applies it. The state machine and the decision are those of a
local endpoint.
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
from headrace.components.registry.open import registry_clock
from headrace.components.registry.origin import Clock, origin, this_user
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
# Changes after which the canary of a version without traffic is not started again, except with `again`.
_ENDED = ("canary", "withdraw")


@dataclass(frozen=True)
class ServiceRolloutConfig:
    """Options of a canary on a service.

    Args:
        version: version that the canary tests. It must be deployed, with or without traffic.
        traffic_log: URI to which the servers of both versions write their counts.
        settings: settings of the canary.
        registry: registry of the versions; "" for the one that the endpoint records.
        again: whether to retry a version whose canary was withdrawn.
        why: reason for the history.
    """

    version: str
    traffic_log: str
    settings: CanarySettings = field(default_factory=CanarySettings)
    registry: str = ""
    again: bool = False
    why: str = ""


@dataclass(frozen=True)
class RolloutStep:
    """State of a canary after one step.

    Attributes:
        version: version that the canary tests.
        outcome: under way, so that further calls are needed; promoted; rolled back by evidence, and marked as bad;
            withdrawn, at the deadline without enough evidence or by a person; or live, because it already had all
            traffic.
        live: the version that other versions are compared with.
        traffic: percentage of the requests by version, as reported by the service.
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
    now: Clock | None = None,
) -> RolloutStep:
    """Runs one step of a canary: stages, widens, promotes, withdraws or rolls it back, or leaves it unchanged.

    The next call completes a call that was killed. Of two concurrent calls, one raises a PlatformError.

    Args:
        endpoint: endpoint of the service.
        config: options of the canary.
        report: receives progress.
        replayed: returns all logged requests that both versions scored, given the stable version, the canary and the
            time at which it was staged; None for no replay.
        now: clock; returns the time in UTC. None for that of the registry's store, as each step may be taken by
            another machine.

    Raises:
        UsageError: the endpoint serves no version, or the version is not deployed.
        GateRefused: the version is marked as bad, or archived.
        DataError: the state or the traffic log is damaged.
        PlatformError: the service failed, another change is under way, or another version has traffic.
    """
    return _Step(endpoint, config, report, replayed, now).take()


class _Step:
    """One step."""

    def __init__(
        self,
        endpoint: ServiceEndpoint,
        config: ServiceRolloutConfig,
        report: Progress,
        replayed: Callable[[str, str, datetime], ReplayEvidence] | None,
        now: Clock | None,
    ) -> None:
        self._endpoint = endpoint
        self._config = config
        self._report = report
        self._replayed = replayed
        self._registry = config.registry or endpoint.registry()
        self._now = (now or registry_clock(self._registry))()
        # Whether the registry contains the version, and it is not marked as bad or archived.
        self._usable = False

    def take(self) -> RolloutStep:
        """Runs the step."""
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
        """Completes a canary that was decided before, and returns its result; None if it is not decided yet."""
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
        """Records the intent to test the version, which must be deployed. A third version must not have traffic."""
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
        """Applies the traffic of the canary's state to the service, and records that it is applied."""
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
        """Restores the traffic of a canary that somebody changed; restarts its step, whose counts mix both splits."""
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
        """Records a step as the intent, and applies it."""
        pending = _intent(rollout.canary.canary, origin(" ".join(reasons)))
        self._endpoint.write(replace(state, rollout=rollout, pending=pending), state)
        return self._carry_out(self._endpoint.state())

    def _traffic(self, rollout: Rollout) -> Traffic:
        # A clock that was set back, or that of another machine, must not read counts older than the baseline.
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
    """The rollout of a canary whose current step begins with the traffic so far."""
    return Rollout(canary, evidence, _by_version(traffic), traffic.until)


def _wanted(canary: CanaryState) -> dict[str, int]:
    return {version: percent for version, percent in canary.traffic.items() if percent}


def _intent(version: str, by: Origin) -> PendingChange:
    return PendingChange("deploy", version, **vars(by))


def raise_for_step(step: RolloutStep, where: str) -> None:
    """Raises the error of a canary that ended without being promoted.

    Raises:
        GateRefused: the canary was rolled back.
        PlatformError: the canary was withdrawn.
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
