"""Health, readiness and metrics of a scorer over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.monitor_port import monitor_port
from headrace.core.errors import UsageError
from headrace.core.rules.counts import RuleCounts


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=600) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_that_of_the_loop_and_readiness_that_of_the_models(loaded: LoadedModel) -> None:
    now = 100.0
    in_use: dict[str, UsedModel | None] = {"taxi": loaded.used, "births": None}
    metrics = StreamMetrics(lambda: in_use, clock=lambda: now)
    with monitor_port("127.0.0.1", 0, metrics) as url:
        assert get(f"{url}/health") == (200, "ok\n")
        assert get(f"{url}/ready")[0] == 503
        metrics.taking = True
        assert get(f"{url}/ready")[0] == 503
        in_use["births"] = loaded.used
        assert get(f"{url}/ready?verbose=1") == (200, "ready\n")
        now += 61
        assert get(f"{url}/health") == (503, "the loop hangs\n")
        metrics.turn()
        assert get(f"{url}/health")[0] == 200
        assert get(f"{url}/")[0] == 404
        assert get(f"{url}/metrics") == (200, metrics.text())
        with (
            pytest.raises(UsageError, match="cannot be opened"),
            monitor_port("127.0.0.1", int(url.rpartition(":")[2]), metrics),
        ):
            pass


def test_metrics_in_the_format_of_prometheus(loaded: LoadedModel) -> None:
    metrics = StreamMetrics(lambda: {"taxi": loaded.used, "births": None})
    metrics.count("records_total", 5, app="taxi", result="predicted")
    metrics.count("records_total", 2, app="taxi", result="predicted")
    metrics.rules("taxi", RuleCounts({"missing_value": {'a"b': 3}}, {"out_of_range": {"c": 1}}))
    metrics.model(ModelOutcome("refused", "taxi", 3, "v3"))
    metrics.gauge("lag_records", 4, topic="rides", partition="0")
    metrics.latencies([1_000, 1_900], 2.0)
    metrics.batch(2, 0.003)
    lines = metrics.text().splitlines()
    for line in (
        'headrace_stream_records_total{app="taxi",result="predicted"} 7',
        'headrace_stream_rule_rows_total{app="taxi",result="refused",rule="missing_value",field="a\\"b"} 3',
        'headrace_stream_rule_rows_total{app="taxi",result="predicted",rule="out_of_range",field="c"} 1',
        'headrace_stream_model_events_total{app="taxi",result="refused"} 1',
        'headrace_stream_lag_records{topic="rides",partition="0"} 4',
        'headrace_stream_model_info{app="taxi",version="loaded",epoch="3"} 1',
        "headrace_stream_latency_seconds_sum 1.1",
        'headrace_stream_latency_seconds_bucket{le="0.2"} 1',
        "headrace_stream_batch_records_count 1",
    ):
        assert line in lines
    metrics.clear("lag_records")
    assert "lag_records{" not in metrics.text()
    for name in {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}:
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        assert any(line.startswith(f"# HELP {family} ") for line in lines), name
