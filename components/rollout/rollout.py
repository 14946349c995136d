"""Rollout of a version on a local endpoint: watches a canary until it is promoted, rolled back or withdrawn.

The state machine and the decision are those of `components/deploy/canary`; this module carries the decisions out. Each
step is one compare-and-set of endpoint.json, which the router follows. The same command resumes a killed rollout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headrace.components.deploy import registries
from headrace.components.deploy.canary.decide import decide
from headrace.components.deploy.canary.replay import Losses, ReplayEvidence
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.canary.state import CanaryDecision, stage
from headrace.components.deploy.local import control, operate
from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
from headrace.components.deploy.local.intent import begin, give_up
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy, publish, version_in
from headrace.components.deploy.local.switch import Switch
from headrace.components.deploy.rollout import Rollout
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.registry.origin import Clock, origin, steady_clock, this_user
from headrace.components.request_log.spool import writers
from headrace.components.rollback.rollback import rollback
from headrace.components.rollout.evidence import counts_of, evidence_of, first_evidence
from headrace.components.rollout.replay import check_labelled, check_logged, endpoint_replay
from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.artifacts.registered import verify
from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UsageError
from headrace.core.ledger.claim import check
from headrace.core.progress import Progress, silent
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output

Outcome = Literal["under way", "promoted", "rolled back", "withdrawn", "live"]


@dataclass(frozen=True)
class RolloutConfig:
    """Options of a rollout.

    Args:
        deploy: options of the deployment.
        settings: settings of the canary.
        poll_s: seconds between two checks of the evidence.
        once: whether to run one step and return, so that the next call resumes; otherwise, the call watches the canary
            until it ends.
    """

    deploy: LocalDeployConfig
    settings: CanarySettings = field(default_factory=CanarySettings)
    poll_s: float = 1.0
    once: bool = False


@dataclass(frozen=True)
class RolloutResult:
    """Result of a rollout.

    Attributes:
        version: version that the canary tests.
        outcome: under way, if the call runs only one step; promoted; rolled back by evidence, and marked as bad;
            withdrawn, because the deadline passed without enough evidence; or live, because it already had all traffic
            or the endpoint had no other version.
        live: the live version, which has all traffic unless the canary is under way.
        url: URL of the endpoint.
        reasons: sentences, the deciding one first.
    """

    version: str
    outcome: Outcome
    live: str
    url: str
    reasons: tuple[str, ...]


def roll_out(
    config: RolloutConfig,
    report: Progress = silent,
    *,
    replayed: Callable[[], ReplayEvidence] | None = None,
    losses: Losses | None = None,
    now: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RolloutResult:
    """Tests a Model on part of the traffic, and watches it until the canary ends; with `once`, runs one step.

    Args:
        config: options of the rollout.
        report: receives progress.
        replayed: scores logged requests with both versions, and returns all results so far. None replays the endpoint's
            request log if the settings require it or there are `losses`.
        losses: losses of labelled rows of the endpoint's request log; None without labels.
        now: clock; None for `steady_clock`.
        sleep: waits for a number of seconds.

    Raises:
        UsageError: as of `deploy`, or the endpoint was stopped.
        GateRefused: the version is marked as bad.
        DataError: the Model is damaged.
        PlatformError: as of `deploy`; or another process watches a canary of the endpoint, or the endpoint has a canary
            of another version.
    """
    options, now = config.deploy, now or steady_clock()
    check_output(options.endpoint, ENDPOINT, option="--endpoint", inputs={"--model": options.model})
    version = version_in(options.model)
    folder = EndpointFolder(options.endpoint, options.claim)
    state = folder.read() if folder.path.is_dir() else None
    if state is None:
        result = deploy(options, report)
        return RolloutResult(version, "live", version, result.url, ("The endpoint had no version to compare it with.",))
    if replayed is None:
        check_labelled(config.settings, labelled=losses is not None)
    logged = replayed is None and (losses is not None or config.settings.needs_replay)
    if logged:
        check_logged(folder, state)
    with locked(options.endpoint, timeout_s=0, name=WATCH_LOCK):
        ended = _ended_before(config, folder, version, report)
        if ended is not None:
            return ended
        _stage(config, folder, version, report, now)
        if logged:
            replayed = endpoint_replay(folder, losses, report)
        return _Watch(config, folder, version, report, replayed, now, sleep).run()


def _ended_before(
    config: RolloutConfig, folder: EndpointFolder, version: str, report: Progress
) -> RolloutResult | None:
    """Completes a rollout that was killed after its decision, and returns its result; None for other rollouts."""
    state = folder.existing()
    pending = state.pending
    if pending is not None and pending.action == "rollback" and pending.bad == version:
        rollback(LocalEndpoint(folder.uri, claim=folder.claim), report, claim=folder.claim)
        return _result(folder, version, "rolled back", (pending.why,))
    if pending is not None and pending.action == "promote" and pending.version == version:
        operate.promote(folder.uri, version, report, why=pending.why, claim=folder.claim)
        return _result(folder, version, "promoted", (pending.why,))
    if state.live == version and state.canary is None:
        result = deploy(config.deploy, report)
        return RolloutResult(version, "live", version, result.url, (f"{version} has all traffic.",))
    return None


def _stage(config: RolloutConfig, folder: EndpointFolder, version: str, report: Progress, now: Clock) -> None:
    """Stages the canary: starts its process and checks its golden rows. A canary with traffic is left unchanged."""
    options, by = config.deploy, origin(config.deploy.why)
    registry = options.registry or registries.registry_of(options.model)
    usable = registries.refuse_bad(registry, version)
    verify(options.model)
    with locked(options.endpoint, timeout_s=options.lock_timeout_s) as lock:
        state = folder.existing()
        _check_unchanged(options, state)
        if state.canary == version and version in state.traffic:
            return
        if state.canary == version and state.rollout is not None:
            rollout = state.rollout
        else:
            canary = stage(state.live, version, config.settings, by.who, options.why, now(), epoch=state.epoch + 1)
            rollout = Rollout(canary, first_evidence(), logged=tuple(writers(folder.requests)))
        state = begin(folder, state, version, registry, usable, PendingChange("deploy", version, **vars(by)), rollout)
        publish(folder, options.model, version, state, report)
        try:
            switch = Switch(folder, lock, options.start_timeout_s, report, state.serving)
            switch.prepare(version, state.name, state)
            control.ensure(folder, state.port, lambda: report("waiting for the router"))
        except HeadraceError:
            give_up(folder, version)
            raise
        if usable:
            registries.challenge(state.registry, version, options.why, options.claim)


def _check_unchanged(options: LocalDeployConfig, state: EndpointState) -> None:
    for name, given, there in (
        ("the name", options.name or state.name, state.name),
        ("the rules", options.rules, state.rules),
        ("the table", options.serving(state).table, state.table),
        ("the cache", options.serving(state).cache_rows, state.cache_rows),
        ("the logged fraction", options.serving(state).log_share, state.log_share),
        ("the port", options.port or state.port, state.port),
    ):
        if given != there:
            raise UsageError(
                f"a canary cannot change {name} of the endpoint", where=options.endpoint, expected=str(there),
                received=str(given),
            )  # fmt: skip
    if state.stopped or not state.port:
        raise UsageError(
            "the endpoint does not run", where=options.endpoint, fix=f"headrace endpoint start {options.endpoint}"
        )


class _Watch:
    """Checks the evidence in a loop, and carries the decisions out."""

    def __init__(
        self,
        config: RolloutConfig,
        folder: EndpointFolder,
        version: str,
        report: Progress,
        replayed: Callable[[], ReplayEvidence] | None,
        now: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._config = config
        self._folder = folder
        self._version = version
        self._report = report
        self._replayed = replayed
        self._now = now
        self._sleep = sleep

    def run(self) -> RolloutResult:
        """Watches the canary until it ends, or runs one step."""
        while True:
            check(self._folder.claim)
            state = self._folder.existing()
            if state.rollout is None or state.canary != self._version:
                outcome: Outcome = "promoted" if state.live == self._version else "rolled back"
                return _result(self._folder, self._version, outcome, ("Somebody else decided.",))
            if state.stopped:
                raise UsageError("the endpoint was stopped while a canary is under way", where=self._folder.uri)
            router = self._router(state)
            done: RolloutResult | None = None
            reasons: tuple[str, ...] = ("The router is started again.",)
            if router is not None:
                done, reasons = self._act(state.rollout, router)
            if done is not None or self._config.once:
                return done or _result(self._folder, self._version, "under way", reasons)
            self._sleep(self._config.poll_s)

    def _router(self, state: EndpointState) -> Mapping[str, Any] | None:
        """The router's report; None if the router died, after it is restarted."""
        found = control.report_at(self._folder, state.port)
        if found is None:
            with locked(self._folder.uri, timeout_s=self._config.deploy.lock_timeout_s):
                control.ensure(self._folder, state.port, lambda: self._report("waiting for the router"))
        return found

    def _act(self, rollout: Rollout, router: Mapping[str, Any]) -> tuple[RolloutResult | None, tuple[str, ...]]:
        """Decides and carries the decision out. Returns the result, None if the canary continues, and the reasons."""
        canary, now = rollout.canary, self._now()
        counts = counts_of(router, canary.stable, canary.canary)
        evidence = evidence_of(rollout, counts, self._replayed() if self._replayed is not None else None)
        decision = decide(canary, evidence, now)
        reasons = " ".join(decision.reasons)
        if decision.action == "stay":
            self._report(f"{canary.percent} % of the traffic: {decision.reasons[0]}")
        elif decision.action == "widen":
            self._report(f"widening to {decision.percent} % of the traffic")
            wider = replace(
                rollout, canary=canary.after(decision, this_user(), now), evidence=evidence, baseline=counts
            )
            self._widen(rollout, wider, decision)
        elif decision.action == "promote":
            self._report("promoting")
            operate.promote(self._folder.uri, self._version, self._report, why=reasons, claim=self._folder.claim)
            return _result(self._folder, self._version, "promoted", decision.reasons), decision.reasons
        elif decision.worse:
            self._report("rolling back")
            claim = self._folder.claim
            rollback(LocalEndpoint(self._folder.uri, claim=claim), self._report, why=reasons, claim=claim)
            return _result(self._folder, self._version, "rolled back", decision.reasons), decision.reasons
        else:
            self._report("withdrawing")
            self._withdraw(rollout, reasons)
            return _result(self._folder, self._version, "withdrawn", decision.reasons), decision.reasons
        return None, decision.reasons

    def _widen(self, before: Rollout, after: Rollout, decision: CanaryDecision) -> None:
        with locked(self._folder.uri, timeout_s=self._config.deploy.lock_timeout_s) as lock:
            state = self._folder.existing()
            if state.rollout != before:
                return
            wider = state.widened(after, origin(" ".join(decision.reasons)))
            self._folder.write(wider, state)
            switch = Switch(self._folder, lock, self._config.deploy.start_timeout_s, self._report, state.serving)
            switch.wait(wider, self._version)

    def _withdraw(self, before: Rollout, why: str) -> None:
        with locked(self._folder.uri, timeout_s=self._config.deploy.lock_timeout_s):
            state = self._folder.existing()
            if state.rollout == before:
                self._folder.write(state.withdrawn(origin(why)), state)


def _result(folder: EndpointFolder, version: str, outcome: Outcome, reasons: tuple[str, ...]) -> RolloutResult:
    state = folder.existing()
    return RolloutResult(version, outcome, state.live, str(state.url), reasons)


def raise_for(result: RolloutResult, endpoint: str) -> None:
    """Raises the error of a rollout that did not end with the version live.

    Raises:
        GateRefused: it was rolled back.
        PlatformError: it had too little traffic before its deadline.
    """
    received = " ".join(result.reasons)
    if result.outcome == "rolled back":
        raise GateRefused(
            f"the canary was rolled back, and {result.live} has all traffic", where=endpoint, received=received
        )
    if result.outcome == "withdrawn":
        raise PlatformError(
            f"the canary was withdrawn, and {result.live} has all traffic",
            where=endpoint,
            received=received,
            fix="Try again with more traffic, a later deadline (--watch) or a smaller --minimum-requests",
        )
