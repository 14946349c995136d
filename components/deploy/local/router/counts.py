"""Metrics of the router: traffic, requests and latency by version, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.components.request_log.counts import BOUNDS, VersionCounts


def prometheus(counts: Mapping[str, VersionCounts], traffic: Mapping[str, int]) -> str:
    """The counts, and the traffic in percent, by version, in the text format of Prometheus."""
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
    """The metrics of several processes as one text. Each sample has the label `version`, and each help appears once.

    Args:
        texts: pairs of a version and the metrics of its process.
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
