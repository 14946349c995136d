"""Traffic counts of one version: requests, errors and a latency histogram, as evidence and for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Upper bounds of the latency histogram, in seconds; the last bucket has none.
BOUNDS = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096, 0.128,
    0.192, 0.256, 0.384, 0.512, 0.768, 1.024, 1.536, 2.048, 3.072, 4.096, 6.144, 8.192, 16.384, 32.768,
)  # fmt: skip
_CLASSES = ("2xx", "3xx", "4xx", "5xx")


@dataclass
class VersionCounts:
    """Counts of one version since a router or a server first saw it.

    Attributes:
        responses: by class of status: 2xx, 3xx, 4xx, 5xx.
        failed: requests without a response: the process died, was not reachable, or took too long.
        buckets: responses by latency, one per bound of `BOUNDS`, and those above the last.
        seconds: sum of the latencies.
    """

    responses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CLASSES, 0))
    failed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """All requests that were sent to the version."""
        return sum(self.responses.values()) + self.failed

    @property
    def errors(self) -> int:
        """Requests that failed by the version's fault: responses of the class 5xx, and no response."""
        return self.responses["5xx"] + self.failed

    def answered(self, status: int, seconds: float) -> None:
        """Counts a response."""
        self.responses[_CLASSES[status // 100 - 2]] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON; `requests` and `errors` are derived from the others."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "responses": dict(self.responses),
            "failed": self.failed,
            "latency_s": {"bounds": list(BOUNDS), "counts": list(self.buckets), "sum": self.seconds},
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> VersionCounts:
        """The counts in JSON; new ones where it has other buckets, as that of another release."""
        latency = content["latency_s"]
        if tuple(latency["bounds"]) != BOUNDS:
            return VersionCounts()
        responses = {name: int(content["responses"][name]) for name in _CLASSES}
        return VersionCounts(responses, int(content["failed"]), [int(n) for n in latency["counts"]], latency["sum"])

    def copy(self) -> VersionCounts:
        """The counts of this moment, also while another thread counts: never more latencies than requests."""
        buckets, seconds = list(self.buckets), self.seconds
        return VersionCounts(dict(self.responses), self.failed, buckets, seconds)

    def add(self, more: VersionCounts) -> None:
        """Adds the counts of another process."""
        for name, number in more.responses.items():
            self.responses[name] += number
        self.failed += more.failed
        self.buckets = [a + b for a, b in zip(self.buckets, more.buckets, strict=True)]
        self.seconds += more.seconds
