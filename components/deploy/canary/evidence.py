"""Canary evidence: requests, errors and latencies by version and step, replayed requests, and labelled rows.

It is cumulative since the canary's beginning, so that the same evidence gives the same decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from headrace.core.checks import check_count, is_finite
from headrace.core.errors import DataError, UsageError, UserError

# Upper edges of latency buckets in seconds, ten per decade from 0.1 ms to 100 s; the last bucket has no upper edge.
LATENCY_EDGES: tuple[float, ...] = tuple(10 ** (exponent / 10 - 4) for exponent in range(61))
# Paired differences in [-1, 1] are counted at this number of equally spaced points.
DIFFERENCE_POINTS = 201
_FORMAT = 1


@dataclass(frozen=True)
class VersionTraffic:
    """Requests of one version during one step.

    Attributes:
        requests: number of requests that ended.
        errors: number of these that failed, with a status of 500 or more or without a response.
        latency: number of requests by bucket: up to each edge of the evidence, and above the last; () if not measured.
        refused: number of requests with a status from 400 to 499, caused by the client, or by a version that refuses
            requests that the other version accepts.

    Raises:
        UsageError: a count is negative, or there are more errors, refused requests or latencies than requests.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    refused: int = 0

    def __post_init__(self) -> None:
        where = "VersionTraffic"
        check_count(self.requests, "requests", minimum=0, where=where)
        check_count(self.errors, "errors", minimum=0, maximum=self.requests, where=where)
        check_count(self.refused, "refused", minimum=0, maximum=self.requests - self.errors, where=where)
        if self.latency and (min(self.latency) < 0 or sum(self.latency) > self.requests):
            raise UsageError(
                "the latencies are wrong",
                where=where,
                expected=f"counts of at most {self.requests} requests",
                received=f"{sum(self.latency)} requests, the smallest count {min(self.latency)}",
            )

    @property
    def error_rate(self) -> float:
        """Fraction of the requests that failed; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    def __add__(self, more: VersionTraffic) -> VersionTraffic:
        if self.latency and more.latency:
            latency = tuple(a + b for a, b in zip(self.latency, more.latency, strict=True))
        else:
            latency = self.latency or more.latency
        refused = self.refused + more.refused
        return VersionTraffic(self.requests + more.requests, self.errors + more.errors, latency, refused)

    def since(self, before: VersionTraffic) -> VersionTraffic:
        """The requests since `before`; all requests if a counter was reset, and is now smaller.

        Args:
            before: earlier values of the same counters.
        """
        earlier = before.latency or (0,) * len(self.latency)
        latency = tuple(now - then for now, then in zip(self.latency, earlier, strict=True))
        requests, errors = self.requests - before.requests, self.errors - before.errors
        refused = self.refused - before.refused
        if min(requests, errors, refused, requests - errors - refused, *latency) < 0 or sum(latency) > requests:
            return self
        return VersionTraffic(requests, errors, latency, refused)

    def to_json(self) -> dict[str, Any]:
        """The counts by name of the attributes."""
        return {**vars(self), "latency": list(self.latency)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> VersionTraffic:
        """The counts from the result of `to_json`.

        Raises:
            UsageError: a count is not valid.
            KeyError, TypeError: a count is missing or unknown.
        """
        return VersionTraffic(**{**content, "latency": tuple(content["latency"])})


@dataclass(frozen=True)
class CanaryStep:
    """Traffic of both versions during one step, since its first request.

    Attributes:
        epoch: epoch of the state that began the step, 1 or more.
        percent: traffic of the canary in percent, 1 to 99.
        stable: requests of the stable version.
        canary: requests of the canary.

    Raises:
        UsageError: the epoch or the percentage is out of its range.
    """

    epoch: int
    percent: int
    stable: VersionTraffic = VersionTraffic()
    canary: VersionTraffic = VersionTraffic()

    def __post_init__(self) -> None:
        check_count(self.epoch, "epoch", where="Step")
        check_count(self.percent, "percent", minimum=1, maximum=99, where="Step")


@dataclass(frozen=True)
class Differences:
    """Paired differences, canary minus stable version, each in [-1, 1], counted at DIFFERENCE_POINTS points.

    A difference between two points is divided between both, so that the mean is exact.

    Attributes:
        counts: number of differences by point, from -1 to 1; () without differences.

    Raises:
        UsageError: the number of points is wrong, or a count is negative or not finite.
    """

    counts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        valid = all(is_finite(count) and count >= 0 for count in self.counts)
        if self.counts and (len(self.counts) != DIFFERENCE_POINTS or not valid):
            raise UsageError(
                "the differences are wrong", where="Differences", expected=f"{DIFFERENCE_POINTS} counts, none negative"
            )

    @property
    def rows(self) -> int:
        """Number of differences."""
        return round(sum(self.counts))

    @property
    def mean(self) -> float:
        """Mean difference; 0 without differences."""
        return sum(c * point(i) for i, c in enumerate(self.counts)) / sum(self.counts) if self.rows else 0.0

    @staticmethod
    def of(values: Iterable[float]) -> Differences:
        """Counts differences. A difference outside [-1, 1] counts as -1 or 1, which bounds its influence.

        Raises:
            UsageError: a difference is NaN.
        """
        counts = [0.0] * DIFFERENCE_POINTS
        for value in values:
            if value != value:
                raise UsageError("a difference is not a number", where="Differences", expected="a number in [-1, 1]")
            place = (min(1.0, max(-1.0, value)) + 1.0) * (DIFFERENCE_POINTS - 1) / 2
            below = min(int(place), DIFFERENCE_POINTS - 2)
            counts[below] += 1.0 - (place - below)
            counts[below + 1] += place - below
        return Differences(tuple(counts))

    def __add__(self, other: Differences) -> Differences:
        if not self.counts or not other.counts:
            return self if self.counts else other
        return Differences(tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))


def point(index: int) -> float:
    """The difference at a point, 0 to DIFFERENCE_POINTS - 1."""
    return 2.0 * index / (DIFFERENCE_POINTS - 1) - 1.0


@dataclass(frozen=True)
class Replay:
    """Logged requests that both versions scored again.

    Attributes:
        rows: number of scored rows.
        differing: number of rows that both versions scored, with predictions that differ by more than the tolerance.
        stable_only: number of rows that only the stable version scored, because the canary failed.
        canary_only: number of rows that only the canary scored.

    Raises:
        UsageError: a count is negative, or the counts sum to more than `rows`.
    """

    rows: int = 0
    differing: int = 0
    stable_only: int = 0
    canary_only: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "differing", "stable_only", "canary_only"):
            check_count(getattr(self, name), name, minimum=0, where="Replay")
        check_count(
            self.differing + self.stable_only + self.canary_only, "rows that differ", minimum=0, maximum=self.rows
        )

    def __add__(self, other: Replay) -> Replay:
        return Replay(
            self.rows + other.rows,
            self.differing + other.differing,
            self.stable_only + other.stable_only,
            self.canary_only + other.canary_only,
        )


@dataclass(frozen=True)
class Evidence:
    """Evidence about a canary.

    Attributes:
        steps: traffic by step, in order of time; the last one may be the current step.
        replay: counts of replayed requests.
        losses: paired differences of the loss per labelled row, canary minus stable version; positive if the canary is
            worse.
        edges: upper edges of the latency buckets, in seconds, ascending.

    Raises:
        UsageError: the edges are not positive and ascending, or latencies have another number of buckets.
    """

    steps: tuple[CanaryStep, ...] = ()
    replay: Replay = Replay()
    losses: Differences = Differences()
    edges: tuple[float, ...] = LATENCY_EDGES

    def __post_init__(self) -> None:
        ascending = all(is_finite(edge) and edge > 0 for edge in self.edges) and all(
            a < b for a, b in pairwise(self.edges)
        )
        if not self.edges or not ascending:
            raise UsageError("the latency edges are wrong", where="Evidence", expected="ascending numbers of seconds")
        for traffic in (each for step in self.steps for each in (step.stable, step.canary)):
            if traffic.latency and len(traffic.latency) != len(self.edges) + 1:
                raise UsageError(
                    "the latencies are wrong",
                    where="Evidence",
                    expected=f"{len(self.edges) + 1} counts",
                    received=f"{len(traffic.latency)} counts",
                )

    def with_step(self, step: CanaryStep) -> Evidence:
        """The evidence with the current counts of a step, which replace its earlier counts."""
        others = tuple(each for each in self.steps if each.epoch != step.epoch)
        return replace(self, steps=tuple(sorted((*others, step), key=lambda each: each.epoch)))

    def step(self, epoch: int) -> CanaryStep | None:
        """The traffic of the step that began with the state of an epoch; None if there is none."""
        return next((step for step in self.steps if step.epoch == epoch), None)

    def to_json(self) -> dict[str, Any]:
        """The evidence as a JSON object."""

        return {
            "format": _FORMAT,
            "steps": [
                {"epoch": s.epoch, "percent": s.percent, "stable": s.stable.to_json(), "canary": s.canary.to_json()}
                for s in self.steps
            ],
            "replay": vars(self.replay),
            "losses": list(self.losses.counts),
            "edges": list(self.edges),
        }

    @staticmethod
    def from_json(content: Any, where: str) -> Evidence:
        """The evidence from the result of `to_json`.

        Raises:
            DataError: the content is damaged.
        """

        try:
            if content["format"] != _FORMAT:
                raise ValueError("another format")
            traffic = VersionTraffic.from_json
            steps = tuple(
                CanaryStep(s["epoch"], s["percent"], traffic(s["stable"]), traffic(s["canary"]))
                for s in content["steps"]
            )
            replay, losses = Replay(**content["replay"]), Differences(tuple(content["losses"]))
            return Evidence(steps, replay, losses, tuple(content["edges"]))
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise DataError(
                "the evidence of the canary is damaged",
                where=where,
                expected=f"evidence of format {_FORMAT}",
                received=f"{type(error).__name__}: {error}",
            ) from error
