"""Counts of the router by version: requests, errors and a latency histogram, as evidence and for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
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
    """Counts of one version since the router first saw it.

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


def prometheus(counts: Mapping[str, VersionCounts], traffic: Mapping[str, int]) -> str:
    """The counts and the traffic, as Prometheus reads them."""
    lines = [
        "# HELP headrace_endpoint_traffic_percent Percentage of the requests by version.",
        "# TYPE headrace_endpoint_traffic_percent gauge",
        *(f'headrace_endpoint_traffic_percent{{version="{v}"}} {p}' for v, p in sorted(traffic.items())),
        "# HELP headrace_endpoint_requests_total Requests by version and class of status; none: no response.",
        "# TYPE headrace_endpoint_requests_total counter",
    ]
    for version, one in sorted(counts.items()):
        classes = {**one.responses, "none": one.failed}
        lines += [
            f'headrace_endpoint_requests_total{{version="{version}",status="{name}"}} {number}'
            for name, number in classes.items()
        ]
    name = "headrace_endpoint_latency_seconds"
    lines += [f"# HELP {name} Time until the response of a version.", f"# TYPE {name} histogram"]
    for version, one in sorted(counts.items()):
        total = 0
        for bound, number in zip([*map(str, BOUNDS), "+Inf"], one.buckets, strict=True):
            total += number
            lines.append(f'{name}_bucket{{version="{version}",le="{bound}"}} {total}')
        lines += [
            f'{name}_sum{{version="{version}"}} {one.seconds:.6f}',
            f'{name}_count{{version="{version}"}} {total}',
        ]
    return "\n".join(lines) + "\n"


def labelled(texts: Iterable[tuple[str, str]]) -> str:
    """Metrics of several processes as one text, each sample with the label `version`; a metric's help stands once.

    Args:
        texts: version, and the text of its process.
    """
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for version, text in texts:
        metric = ""
        for line in text.splitlines():
            words = line.split(" ", 3)
            if line.startswith("#") and len(words) > 2:
                metric = words[2]
                about, _ = groups.setdefault(metric, ([], []))
                if not any(other.startswith(" ".join(words[:3])) for other in about):
                    about.append(line)
            elif line and not line.startswith("#"):
                name = line.partition("{")[0].partition(" ")[0]
                _, samples = groups.setdefault(metric if name.startswith(metric) else name, ([], []))
                samples.append(_with_version(line, name, version))
    return "".join(f"{line}\n" for about, samples in groups.values() for line in (*about, *samples))


def _with_version(sample: str, name: str, version: str) -> str:
    rest = sample.removeprefix(name)
    if not rest.startswith("{"):
        return f'{name}{{version="{version}"}}{rest}'
    return sample if 'version="' in rest else f'{name}{{version="{version}",{rest[1:]}'
