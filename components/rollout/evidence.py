"""Evidence of a rollout: counts by version, from a router or from servers, in the form that the decision reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.components.deploy.canary.evidence import CanaryStep, Evidence, VersionTraffic
from headrace.components.deploy.rollout import Rollout
from headrace.components.request_log.counts import BOUNDS, VersionCounts

if TYPE_CHECKING:
    from headrace.components.deploy.canary.replay import ReplayEvidence


def first_evidence() -> Evidence:
    """The evidence of a canary without traffic yet, with the router's latency edges in seconds."""
    return Evidence(edges=BOUNDS)


def counts_of(report: Mapping[str, Any], *versions: str) -> dict[str, VersionTraffic]:
    """The counts of some versions in a router's report; zero for a version without requests."""
    counts = {}
    for version in versions:
        one = report["versions"].get(version)
        if one is None:
            counts[version] = VersionTraffic()
        else:
            counts[version] = VersionTraffic(
                one["requests"], one["errors"], tuple(one["latency_s"]["counts"]), one["responses"]["4xx"]
            )
    return counts


def traffic_of(counts: VersionCounts) -> VersionTraffic:
    """The counts of a version's servers, as evidence."""
    return VersionTraffic(counts.requests, counts.errors, tuple(counts.buckets), counts.responses["4xx"])


def evidence_of(
    rollout: Rollout, counts: Mapping[str, VersionTraffic], replayed: ReplayEvidence | None = None
) -> Evidence:
    """All evidence about a canary: its earlier steps, the current step, and the replay.

    Args:
        rollout: the canary, with the counts at the beginning of the current step.
        counts: counts of both versions since they began.
        replayed: logged requests that both versions scored; None for no replay.
    """
    canary, evidence = rollout.canary, rollout.evidence
    if canary.stage == "canary":
        since = {version: one.since(rollout.baseline.get(version, VersionTraffic())) for version, one in counts.items()}
        step = CanaryStep(canary.epoch, canary.percent, since[canary.stable], since[canary.canary])
        evidence = evidence.with_step(step)
    if replayed is not None:
        evidence = replace(evidence, replay=replayed.replay, losses=replayed.losses)
    return evidence
