"""The label join on a real broker: metric events by window, and an alarm when the metric decays."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Producer
from peers.kafka import Broker

from headrace.components.monitor.config import period
from headrace.components.monitor.labels import JoinCounts
from headrace.components.stream.kafka import clients
from headrace.components.stream.kafka import labels as joined
from headrace.components.stream.kafka.label_config import LabelConfig
from headrace.components.stream.kafka.labels import LabelJoiner
from headrace.components.stream.kafka.outbox import Outbox
from headrace.components.stream.labels.join import MeasuredWindow
from headrace.components.stream.labels.report import MetricReport
from headrace.core.errors import PlatformError, UsageError
from headrace.core.problem import Gate, Monitor, Numeric, Problem

PROBLEM = Problem(
    "taxi",
    label=Numeric("fare", minimum=0),
    features=[Numeric("miles")],
    key="ride",
    gate=Gate(metric="mean_absolute_error", at_most=2.0),
    monitor=Monitor(minimum_rows=5),
)


def config_of(broker: Broker, prefix: str, **changes: Any) -> LabelConfig:
    made = {name: f"{prefix}-{name}" for name in ("predictions", "labels", "metrics", "alarms")}
    return LabelConfig(broker.bootstrap, "taxi", **{**made, "window_s": 2, "wait_s": 2, **changes})


@contextmanager
def joining(config: LabelConfig) -> Iterator[LabelJoiner]:
    stop = threading.Event()
    joiner = LabelJoiner(
        PROBLEM,
        config,
        clients.whole_consumer(config, "labels"),
        Outbox(lambda: clients.producer(config)),
        MetricReport(PROBLEM, config.app),
        member="joiner",
        stop=stop,
    )
    thread = threading.Thread(target=joiner.run, daemon=True)
    thread.start()
    try:
        yield joiner
    finally:
        stop.set()
        thread.join(30)
        joiner.close()


def send(broker: Broker, config: LabelConfig, name: str, error: float, version: str) -> None:
    """Sends ten predictions with labels that differ by `error`."""
    producer = broker.producer()
    for at in range(10):
        key = f"{name}{at}".encode()
        row = {"prediction": 10.0 + error, "model_version": version, "model_epoch": 1}
        producer.produce(config.predictions, json.dumps(row).encode(), key=key)
        producer.produce(config.labels, json.dumps({"fare": 10.0}).encode(), key=key)
    producer.produce(config.labels, b"{", key=b"damaged")
    producer.flush(10)


def until(broker: Broker, topic: str, true: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    end = time.monotonic() + 60
    with broker.reading(topic) as read:
        while not true(found):
            assert time.monotonic() < end, found
            found += [json.loads(message.value()) for message in read(0.2)]
    return found


def rows_of(events: list[dict[str, Any]], version: str) -> int:
    return sum(event["rows"] for event in events if event["version"] == version)


def test_the_metric_of_each_window_and_its_decay(kafka: Broker) -> None:
    config = config_of(kafka, "decay")
    kafka.topics(**dict.fromkeys(config.topics, 2))
    with joining(config):
        send(kafka, config, "a", 1.0, "v1")
        send(kafka, config, "b", 5.0, "v2")
        events = until(kafka, config.metrics, lambda found: rows_of(found, "v1") >= 10 and rows_of(found, "v2") >= 10)
        alarms = until(kafka, config.alarms, lambda found: len(found) >= 1)
    for event in events:
        assert event["metrics"]["mean_absolute_error"]["value"] == {"v1": 1.0, "v2": 5.0}[event["version"]]
        assert (event["kind"], event["app"], event["judged"]) == ("StreamMetric", "taxi", "mean_absolute_error")
    for alarm in alarms:
        assert (alarm["alarm"], alarm["version"], alarm["value"], alarm["threshold"]) == ("metric", "v2", 5.0, 2.0)
        assert alarm["member"] == "joiner"
    before = {(event["version"], event["begin"]): event for event in events}
    ids = {(alarm["id"], *alarm["window"]) for alarm in alarms}
    # After a restart within the windows' time, the same events are made again, if they are at all.
    with joining(config):
        time.sleep(1.5)
    again = until(kafka, config.metrics, lambda found: len(found) >= len(events))
    assert all(before.get((event["version"], event["begin"]), event) == event for event in again)
    repeated = until(kafka, config.alarms, lambda found: len(found) >= len(alarms))
    assert {(alarm["id"], *alarm["window"]) for alarm in repeated} == ids


class Stuck:
    """A producer whose broker is down."""

    def produce(self, *_: object, **__: object) -> None:
        """Queues a message."""

    def flush(self, _: float) -> int:
        return 1


def test_a_termination_signal_ends_the_wait_for_a_broker_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "_DRAIN_S", 0.05)
    config, stop = config_of(Broker(1), "down"), threading.Event()
    outbox = Outbox(lambda: cast("Producer", Stuck()))
    report = MetricReport(PROBLEM, config.app)
    joiner = LabelJoiner(PROBLEM, config, cast("Consumer", None), outbox, report, member="joiner", stop=stop)
    stop.set()
    with pytest.raises(PlatformError, match="the last metric events were not delivered in time"):
        joiner._publish([MeasuredWindow(100, 102, "v1", JoinCounts(), None)])


def test_one_message_that_is_not_valid_changes_nothing_for_the_others(kafka: Broker) -> None:
    config = config_of(kafka, "bad")
    kafka.topics(**dict.fromkeys(config.topics, 1))
    surrogate = {"key": "\ud800", "prediction": "\ud800", "model_version": "\ud800", "n": 10**19}
    with joining(config) as joiner:
        for value in ({"prediction": [1.0], "fare": [1.0]}, {"prediction": {}, "fare": {}}, surrogate):
            for topic in (config.predictions, config.labels):
                kafka.send(topic, json.dumps(value).encode(), key=b"x")
        send(kafka, config, "a", 1.0, "v1")
        until(kafka, config.metrics, lambda found: rows_of(found, "v1") >= 10)
    assert joiner._join.invalid == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": ""}, "predictions is empty"),
        ({"labels": "decay-predictions", "predictions": "decay-predictions"}, "a topic is used twice"),
        ({"metrics": "decay-labels", "labels": "decay-labels"}, "a topic is used twice"),
        ({"window_s": 0}, "window is wrong"),
        ({"wait_s": 0}, "label_wait is wrong"),
        ({"most": 1}, "joined_rows is wrong"),
        ({"properties": {"enable.partition.eof": "false"}}, "the property cannot be set"),
    ],
)
def test_what_is_not_valid_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_of(Broker(1), "decay", **changes)


def test_periods() -> None:
    assert [period(text, "--window", "smhd") for text in ("30s", "5m", "2h", "1d")] == [30, 300, 7200, 86_400]
    for text in ("", "5", "0s", "5w", "-1s"):
        with pytest.raises(UsageError, match="the period is not valid"):
            period(text, "--window", "smhd")
