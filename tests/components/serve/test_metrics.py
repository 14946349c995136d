"""Metrics as Prometheus reads them, and the access log."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading

import pytest

from headrace.components.serve.access_log import AccessLog
from headrace.components.serve.metrics import Metrics
from headrace.components.serve.protocols.call import CallResponse
from headrace.core.rules.counts import RuleCounts


def test_all_metrics() -> None:
    metrics = Metrics()
    metrics.add(RuleCounts({"missing_value": {'a"b': 2}}, {"out_of_range": {"c": 1}}))
    metrics.add(RuleCounts({"missing_value": {'a"b': 1}}, {}))
    for seconds in (0.0005, 0.001, 0.003, 99.0):
        metrics.answered("vertex", 200, seconds)
    metrics.answered("other", 404, -1.0)
    metrics.batch(3, 5, 0.002)
    metrics.count("swaps", "New versions.", {"result": "switched"})
    metrics.count("swaps", "New versions.", {"result": "switched"})
    metrics.gauges[("waiting_requests", "Waiting.")] = lambda: 7
    lines = metrics.text("v\n1", "dynamic").splitlines()
    for expected in (
        'headrace_refused_rows_total{rule="missing_value",field="a\\"b"} 3',
        'headrace_predicted_rows_total{rule="out_of_range",field="c"} 1',
        'headrace_requests_total{route="vertex",status="200"} 4',
        'headrace_requests_total{route="other",status="404"} 1',
        'headrace_request_seconds_bucket{le="0.001"} 2',
        'headrace_request_seconds_bucket{le="0.0025"} 2',
        'headrace_request_seconds_bucket{le="0.005"} 3',
        'headrace_request_seconds_bucket{le="30.0"} 3',
        'headrace_request_seconds_bucket{le="+Inf"} 4',
        "headrace_request_seconds_sum 99.0045",
        "headrace_request_seconds_count 4",
        'headrace_batch_requests_bucket{le="2"} 0',
        'headrace_batch_requests_bucket{le="4"} 1',
        "headrace_batch_rows_sum 5",
        'headrace_swaps_total{result="switched"} 2',
        "headrace_waiting_requests 7",
        'headrace_model_info{version="v\\n1",mode="dynamic"} 1',
    ):
        assert expected in lines
    named = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(named) == len(set(named))


def test_a_line_of_the_access_log_has_no_payload() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    log._timer = object()  # type: ignore[assignment]
    scope = {"method": "POST", "path": "/predict", "client": ("127.0.0.1", 5), "headers": [(b"x", b"secret")]}
    log.add(scope, CallResponse(b"{}", 200, [(b"x-model-version", b"v1")]), 3, 0.00125)
    log._timer = None
    log.close()
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "bytes": 2,
        "rows": 3,
        "ms": 1.25,
        "model_version": "v1",
    }


def test_a_reader_that_does_not_read_delays_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    scope = {"method": "GET", "path": "/health", "client": None}

    async def requests(log: AccessLog) -> None:
        for _ in range(20_000):
            log.add(scope, CallResponse(b"{}", 200), 0, 0.001)
        # Its first lines, more than a pipe holds, are being written, and the last 3,000 wait.
        assert log._busy
        assert len(log._lines) == 3000

    with open(writing, "w") as stream:  # noqa: PTH123 - a pipe has no path
        log = AccessLog(stream, maximum=3000)
        asyncio.run(requests(log))
        lines: list[bytes] = []

        def read() -> None:
            with open(reading, "rb") as file:  # noqa: PTH123
                lines.extend(file)

        reader = threading.Thread(target=read)
        reader.start()
        log.close()
    reader.join()
    assert len(lines) == 4000
    assert all(json.loads(line)["path"] == "/health" for line in lines)
    assert "the access log dropped 16000 lines" in caplog.text
