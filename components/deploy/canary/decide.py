"""Canary decision: stay, widen, promote or roll back. It depends only on the state, the evidence and the time.

A canary is rolled back by an always-valid test: a canary that is no worse than the stable version is ever rolled back
with a probability of at most `false_rollback`, even if the evidence is checked after every request. It is promoted only
after the minimum of requests at every step. By default, it is rolled back if they are missing at the deadline, because
missing data is no evidence of a good version.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime

from headrace.components.deploy.canary.e_values import (
    Counts,
    fraction_interval,
    log_e_attribution,
    log_e_excess,
    log_e_fraction,
    log_e_mean,
    log_mean,
    mean_interval,
)
from headrace.components.deploy.canary.evidence import CanaryStep, Evidence, VersionTraffic
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.canary.state import CanaryDecision, CanaryState

# Weight of each test in the probability of a false rollback; they sum to 1.
_WEIGHTS = {
    "errors": 0.5,
    "latency": 0.2,
    "refused requests": 0.1,
    "failed rows": 0.1,
    "differing rows": 0.05,
    "losses": 0.05,
}


@dataclass(frozen=True)
class CanaryFinding:
    """Result of one test.

    Attributes:
        name: errors, latency, refused requests, failed rows, differing rows or losses.
        log_e: natural logarithm of its e-value; minus infinity for no evidence against the canary.
        text: the measurement as a clause.
    """

    name: str
    log_e: float
    text: str


def decide(state: CanaryState, evidence: Evidence, now: datetime) -> CanaryDecision:
    """Decides what to do with a canary. A pure function, which may be called whenever there is new evidence.

    A staged canary gets its first step, so call it only after the version predicts its golden rows correctly.

    Args:
        state: state of the canary.
        evidence: cumulative evidence since the canary's beginning.
        now: current time, with a time zone.

    Returns:
        The decision, for `CanaryState.after`. Applying it twice has no further effect.
    """
    if state.terminal:
        return CanaryDecision("stay", state.epoch, state.percent, (f"The canary is {state.stage.replace('_', ' ')}.",))
    against = _against(state, evidence)
    if against is not None:
        return CanaryDecision("roll back", state.epoch, 0, against, worse=True)
    late = now >= state.deadline
    if state.stage == "staged":
        if late:
            return _at_deadline(state, ("It has had no traffic.",))
        first = state.settings.steps[0]
        return CanaryDecision("widen", state.epoch, first, (f"The first step is {first} % of the traffic.",))
    missing = _missing(state, evidence, now)
    if missing:
        return _at_deadline(state, missing) if late else CanaryDecision("stay", state.epoch, state.percent, missing)
    wider = [percent for percent in state.settings.steps if percent > state.percent]
    summary = tuple(finding.text for finding in findings(evidence, state.settings))
    if wider:
        if late:
            return _at_deadline(state, (f"It has not had {wider[-1]} % of the traffic.", *summary))
        reason = f"{state.percent} % of the traffic gave no evidence against the canary."
        return CanaryDecision("widen", state.epoch, wider[0], (reason, *summary))
    reason = f"The minimum of requests is reached at every step, to {state.percent} % of the traffic."
    return CanaryDecision("promote", state.epoch, 100, (reason, *summary))


def findings(evidence: Evidence, settings: CanarySettings) -> tuple[CanaryFinding, ...]:
    """The result of every test that has evidence."""
    found = []
    counts = [_errors(step) for step in evidence.steps]
    if counts:
        text = f"Errors: {_compared(counts)}."
        found.append(CanaryFinding("errors", log_e_attribution(counts), text))
        refused = [_refused(step) for step in evidence.steps]
        if any(each.canary + each.stable for each in refused):
            text = f"Refused requests: {_compared(refused)}."
            found.append(CanaryFinding("refused requests", log_e_attribution(refused), text))
        slower = _latency(evidence, settings)
        found += [slower] if slower is not None else []
    replay = evidence.replay
    interval = f"always-valid {100 * (1 - settings.false_rollback):g} % interval"
    if replay.rows:
        failed, other = replay.stable_only, replay.canary_only
        text = f"Replay: of {replay.rows:,} rows, {failed:,} fail with the canary alone, {other:,} without it alone."
        found.append(CanaryFinding("failed rows", log_e_fraction(failed, failed + other, 0.5), text))
        limit = settings.maximum_differing
        if limit is not None and limit < 1:
            low, high = fraction_interval(replay.differing, replay.rows, settings.false_rollback)
            text = (
                f"Replay: {_percent(replay.differing, replay.rows)} of the rows differ,"
                f" {interval} {100 * low:.3g} to {100 * high:.3g} %, {100 * limit:g} % may."
            )
            found.append(CanaryFinding("differing rows", log_e_fraction(replay.differing, replay.rows, limit), text))
    losses = evidence.losses
    if losses.rows:
        low, high = mean_interval(losses, settings.false_rollback)
        text = (
            f"Labels: mean loss difference {losses.mean:+.4g} on {losses.rows:,} rows, {interval} {low:+.3g} to"
            f" {high:+.3g} (positive: the canary is worse)."
        )
        found.append(CanaryFinding("losses", log_e_mean(losses, settings.loss_tolerance), text))
    return tuple(found)


def _against(state: CanaryState, evidence: Evidence) -> tuple[str, ...] | None:
    """Why the canary is rolled back; None if the evidence is too weak."""
    found = findings(evidence, state.settings)
    if not found:
        return None
    absent = sum(_WEIGHTS.values()) - sum(_WEIGHTS[each.name] for each in found)
    weighted = [(_WEIGHTS[each.name], each.log_e) for each in found]
    # A test without evidence has the e-value 1.
    total = log_mean([*weighted, *([(absent, 0.0)] if absent > 1e-9 else [])])
    needed = -math.log(state.settings.false_rollback)
    if total < needed:
        return None
    worst, *others = sorted(found, key=lambda each: -math.log(_WEIGHTS[each.name]) - each.log_e)
    odds = f"1e{total / math.log(10):.0f}" if total > 20 else f"{math.exp(total):,.0f}"
    reason = (
        f"The canary is worse: {worst.name}; evidence of {odds} to 1, {1 / state.settings.false_rollback:g} needed."
    )
    return (reason, worst.text, *(each.text for each in others))


def _missing(state: CanaryState, evidence: Evidence, now: datetime) -> tuple[str, ...]:
    """What is missing before the next step, as sentences."""
    settings = state.settings
    step = evidence.step(state.epoch) or CanaryStep(state.epoch, state.percent)
    missing = []
    for name, traffic in (("canary", step.canary), ("stable version", step.stable)):
        if traffic.requests < settings.minimum_requests:
            missing.append(
                f"The {name} has had {traffic.requests:,} of {settings.minimum_requests:,} requests at"
                f" {state.percent} % of the traffic."
            )
    elapsed = (now - state.at).total_seconds()
    if elapsed < settings.minimum_step_s:
        missing.append(f"{elapsed:.0f} s of the step's {settings.minimum_step_s:g} s are over.")
    if step.canary.error_rate > settings.maximum_error_rate:
        missing.append(
            f"{_percent(step.canary.errors, step.canary.requests)} of the canary's requests fail, at most"
            f" {100 * settings.maximum_error_rate:g} % may."
        )
    last = state.percent >= settings.steps[-1]
    if last and evidence.replay.rows < settings.minimum_replayed:
        missing.append(f"{evidence.replay.rows:,} of {settings.minimum_replayed:,} logged rows are replayed.")
    if last and evidence.losses.rows < settings.minimum_labelled:
        missing.append(f"{evidence.losses.rows:,} of {settings.minimum_labelled:,} rows have labels.")
    return tuple(missing)


def _at_deadline(state: CanaryState, missing: tuple[str, ...]) -> CanaryDecision:
    if state.settings.at_deadline == "stay":
        reason = "The deadline is over without enough evidence; a person is to promote or roll back."
        return CanaryDecision("stay", state.epoch, state.percent, (reason, *missing))
    reason = "The deadline is over without enough evidence to promote."
    return CanaryDecision("roll back", state.epoch, 0, (reason, *missing))


def _latency(evidence: Evidence, settings: CanarySettings) -> CanaryFinding | None:
    """The test of latencies: a mixture, over all edges, of tests on the fraction of requests slower than the edge.

    The canary is compared at an edge that is larger by the tolerance, so that a factor within it is no evidence.
    """
    measured = [step for step in evidence.steps if step.stable.latency and step.canary.latency]
    if not measured:
        return None
    edges, tolerance = evidence.edges, settings.latency_tolerance * (1 - 1e-9)
    # The index of each edge, and of the first edge that is larger by the tolerance.
    places = [
        (at, above) for at, edge in enumerate(edges) if (above := bisect_left(edges, edge * tolerance)) < len(edges)
    ]
    stable = [_slower(step.stable) for step in measured]
    canary = [_slower(step.canary) for step in measured]
    totals = [(sum(step.canary.latency), sum(step.stable.latency)) for step in measured]
    parts, worst = [], (-math.inf, 0, 0)
    for at, above in places:
        counts = [
            Counts(step.percent, slow[above], total, stable_slow[at], stable_total)
            for step, slow, stable_slow, (total, stable_total) in zip(measured, canary, stable, totals, strict=True)
        ]
        log_e = log_e_excess(counts, settings.latency_slack)
        parts.append((1 / len(places), log_e))
        worst = max(worst, (log_e, at, above))
    log_e, at, above = worst
    if log_e <= 0:
        text = f"Latency: no more than {100 * settings.latency_slack:g} % of the canary's requests are clearly slower."
    else:
        slow, total = sum(each[above] for each in canary), sum(each for each, _ in totals)
        others, other_total = sum(each[at] for each in stable), sum(each for _, each in totals)
        text = (
            f"Latency: {_percent(slow, total)} of the canary's requests last more than"
            f" {_milliseconds(edges[above])}, {_percent(others, other_total)} of the stable version's more than"
            f" {_milliseconds(edges[at])}."
        )
    return CanaryFinding("latency", log_mean(parts) if parts else -math.inf, text)


def _slower(traffic: VersionTraffic) -> list[int]:
    """Number of requests slower than each edge."""
    slower, total = [], sum(traffic.latency)
    for count in traffic.latency[:-1]:
        total -= count
        slower.append(total)
    return slower


def _errors(step: CanaryStep) -> Counts:
    return Counts(step.percent, step.canary.errors, step.canary.requests, step.stable.errors, step.stable.requests)


def _refused(step: CanaryStep) -> Counts:
    return Counts(step.percent, step.canary.refused, step.canary.requests, step.stable.refused, step.stable.requests)


def _compared(counts: list[Counts]) -> str:
    canary, stable = sum(c.canary for c in counts), sum(c.stable for c in counts)
    requests, others = sum(c.canary_requests for c in counts), sum(c.stable_requests for c in counts)
    return (
        f"{_percent(canary, requests)} of {requests:,} requests of the canary, {_percent(stable, others)} of"
        f" {others:,} of the stable version"
    )


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total if total else 0.0:.3g} %"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
