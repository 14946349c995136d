"""Simulated canaries: requests of both versions in batches, each looked at by `decide`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from headrace.components.deploy.canary.decide import decide
from headrace.components.deploy.canary.evidence import LATENCY_EDGES, CanaryStep, Evidence, VersionTraffic
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.canary.state import CanaryState, stage

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def staged(settings: CanarySettings | None = None) -> CanaryState:
    """A staged canary of version v2."""
    return stage("v1", "v2", settings or CanarySettings(), "ann", "a better model", START)


def canary(percent: int = 10, settings: CanarySettings | None = None) -> CanaryState:
    """A canary of version v2 with traffic, in its second epoch."""
    return replace(staged(settings), stage="canary", percent=percent, epoch=2)


def traffic(requests: int, errors: int = 0, latency: tuple[int, ...] = ()) -> VersionTraffic:
    """Traffic of a version."""
    return VersionTraffic(requests, errors, latency)


def step(stable: VersionTraffic, of_canary: VersionTraffic, percent: int = 10, epoch: int = 2) -> Evidence:
    """Evidence of one step."""
    return Evidence((CanaryStep(epoch, percent, stable, of_canary),))


def latencies(random: np.random.Generator, requests: int, median_s: float) -> tuple[int, ...]:
    """Counts by bucket of log-normal latencies."""
    drawn = median_s * random.lognormal(0.0, 0.5, requests)
    return tuple(np.bincount(np.searchsorted(LATENCY_EDGES, drawn), minlength=len(LATENCY_EDGES) + 1).tolist())


@dataclass(frozen=True)
class Behavior:
    """How a version behaves.

    Attributes:
        error_rate: of its requests, at the time in requests of both versions.
        median_s: of its latencies; None for none measured.
    """

    error_rate: Callable[[int], float]
    median_s: float | None = None

    def batch(self, random: np.random.Generator, requests: int, at: int) -> VersionTraffic:
        """A batch of requests."""
        errors = int(random.binomial(requests, self.error_rate(at)))
        latency = () if self.median_s is None else latencies(random, requests, self.median_s)
        return VersionTraffic(requests, errors, latency)


def simulate(
    settings: CanarySettings, stable: Behavior, of_canary: Behavior, *, batch: int, seed: int
) -> Iterator[tuple[CanaryState, Evidence]]:
    """State and evidence after each batch of requests, until the state is terminal.

    Args:
        settings: of the canary.
        stable: how the stable version behaves.
        of_canary: how the canary behaves.
        batch: requests of both versions between two decisions; a batch lasts a second.
        seed: of the simulation.
    """
    random = np.random.default_rng(seed)
    state, evidence, now, requests = staged(settings), Evidence(), START, 0
    while not state.terminal:
        state = state.after(decide(state, evidence, now), "decide", now)
        now += timedelta(seconds=1)
        if state.stage == "canary":
            last = evidence.step(state.epoch) or CanaryStep(state.epoch, state.percent)
            part = int(random.binomial(batch, state.percent / 100))
            evidence = evidence.with_step(
                replace(
                    last,
                    stable=last.stable + stable.batch(random, batch - part, requests),
                    canary=last.canary + of_canary.batch(random, part, requests),
                )
            )
            requests += batch
        yield state, evidence


def constant(error_rate: float, median_s: float | None = None) -> Behavior:
    """A version whose error rate never changes."""
    return Behavior(lambda _: error_rate, median_s)
