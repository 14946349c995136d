"""The label join on a real broker: metric events by window, and an alarm when the metric decays."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
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


class Clock:
    """The time of day of joiners, which stands still until a test sets it."""

    def __init__(self) -> None:
        # A quarter into a window.
        self.now = time.time() // 2 * 2 + 0.5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(joined, "time", SimpleNamespace(time=lambda: found.now, monotonic=time.monotonic))
    return found


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
        thread.join(600)
        joiner.close()


def send(broker: Broker, config: LabelConfig, clock: Clock, name: str, error: float, version: str) -> None:
    """Sends ten predictions with labels that differ by `error`, all of the present window."""
    producer = broker.producer()
    created = int(1000 * clock.now)
    for at in range(10):
        key = f"{name}{at}".encode()
        row = {"prediction": 10.0 + error, "model_version": version, "model_epoch": 1}
        producer.produce(config.predictions, json.dumps(row).encode(), key=key, timestamp=created)
        producer.produce(config.labels, json.dumps({"fare": 10.0}).encode(), key=key, timestamp=created)
    producer.produce(config.labels, b"{", key=b"damaged", timestamp=created)
    assert producer.flush(600) == 0


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def until(broker: Broker, topic: str, count: int) -> list[dict[str, Any]]:
    """The events of a topic, once there are so many."""
    return [json.loads(message.value()) for message in broker.read(topic, count)]


def test_the_metric_of_each_window_and_its_decay(kafka: Broker, clock: Clock) -> None:
    config = config_of(kafka, "decay")
    kafka.topics(**dict.fromkeys(config.topics, 2))
    with joining(config) as joiner:
        send(kafka, config, clock, "a", 1.0, "v1")
        send(kafka, config, clock, "b", 5.0, "v2")
        wait_for(lambda: joiner._join.buffered == (20, 20))
        # The labels of the window cannot come any more.
        clock.now += 10.0
        events = until(kafka, config.metrics, 2)
        alarms = until(kafka, config.alarms, 1)
    assert {event["version"]: event["rows"] for event in events} == {"v1": 10, "v2": 10}
    for event in events:
        assert event["metrics"]["mean_absolute_error"]["value"] == {"v1": 1.0, "v2": 5.0}[event["version"]]
        assert (event["kind"], event["app"], event["judged"]) == ("StreamMetric", "taxi", "mean_absolute_error")
    (alarm,) = alarms
    assert (alarm["alarm"], alarm["version"], alarm["value"], alarm["threshold"]) == ("metric", "v2", 5.0, 2.0)
    assert alarm["member"] == "joiner"
    # After a restart within the window's time, the same events are made again.
    clock.now -= 10.0
    with joining(config) as joiner:
        wait_for(lambda: joiner._join.buffered == (20, 20))
        clock.now += 10.0
        again = until(kafka, config.metrics, 4)
        repeated = until(kafka, config.alarms, 2)
    order = sorted(again, key=lambda event: str(event["version"]))
    assert order[::2] == order[1::2] == sorted(events, key=lambda event: str(event["version"]))
    assert {(one["id"], *one["window"]) for one in repeated} == {(alarm["id"], *alarm["window"])}


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


def test_one_message_that_is_not_valid_changes_nothing_for_the_others(kafka: Broker, clock: Clock) -> None:
    config = config_of(kafka, "bad")
    kafka.topics(**dict.fromkeys(config.topics, 1))
    surrogate = {"key": "\ud800", "prediction": "\ud800", "model_version": "\ud800", "n": 10**19}
    with joining(config) as joiner:
        for value in ({"prediction": [1.0], "fare": [1.0]}, {"prediction": {}, "fare": {}}, surrogate):
            for topic in (config.predictions, config.labels):
                kafka.send(topic, json.dumps(value).encode(), key=b"x")
        send(kafka, config, clock, "a", 1.0, "v1")
        wait_for(lambda: joiner._join.buffered == (10, 10) and joiner._join.invalid >= 7)
        clock.now += 10.0
        (event,) = until(kafka, config.metrics, 1)
    assert (event["version"], event["rows"], joiner._join.invalid) == ("v1", 10, 7)


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
