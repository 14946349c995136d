"""Counts of the router: what is counted, kept and shown."""

from __future__ import annotations

import json

from headrace.components.deploy.local.router.counts import labelled, prometheus
from headrace.components.request_log.counts import BOUNDS, VersionCounts


def counted() -> VersionCounts:
    counts = VersionCounts()
    for status, seconds in ((200, 0.0004), (200, 0.0005), (422, 0.01), (503, 40.0)):
        counts.answered(status, seconds)
    counts.failed += 2
    return counts


def test_requests_errors_and_the_histogram() -> None:
    counts = counted()
    assert (counts.requests, counts.errors, counts.failed) == (6, 3, 2)
    assert counts.responses == {"2xx": 2, "3xx": 0, "4xx": 1, "5xx": 1}
    assert (counts.buckets[0], counts.buckets[BOUNDS.index(0.012)], counts.buckets[-1]) == (2, 1, 1)
    assert sum(counts.buckets) == 4
    assert VersionCounts.from_json(json.loads(json.dumps(counts.to_json()))) == counts
    other = {**counts.to_json(), "latency_s": {"bounds": [1.0], "counts": [1, 2], "sum": 0.0}}
    assert VersionCounts.from_json(other) == VersionCounts()


def test_as_prometheus_reads_it() -> None:
    lines = prometheus({"v1": counted()}, {"v1": 100}).splitlines()
    for line in (
        'headrace_endpoint_traffic_percent{version="v1"} 100',
        'headrace_endpoint_requests_total{version="v1",status="2xx"} 2',
        'headrace_endpoint_requests_total{version="v1",status="none"} 2',
        'headrace_endpoint_latency_seconds_bucket{version="v1",le="0.0005"} 2',
        'headrace_endpoint_latency_seconds_bucket{version="v1",le="0.012"} 3',
        'headrace_endpoint_latency_seconds_bucket{version="v1",le="+Inf"} 4',
        'headrace_endpoint_latency_seconds_count{version="v1"} 4',
    ):
        assert line in lines


def test_metrics_of_several_processes() -> None:
    one = '# HELP rows Rows.\n# TYPE rows counter\nrows{rule="a"} 1\n# HELP up Up.\n# TYPE up gauge\nup 1\n'
    other = '# HELP rows Rows.\n# TYPE rows counter\nrows{version="v2"} 5\n'
    assert labelled([("v1", one), ("v2", other)]).splitlines() == [
        "# HELP rows Rows.",
        "# TYPE rows counter",
        'rows{version="v1",rule="a"} 1',
        'rows{version="v2"} 5',
        "# HELP up Up.",
        "# TYPE up gauge",
        'up{version="v1"} 1',
    ]
