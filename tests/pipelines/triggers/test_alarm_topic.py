"""Alarm topics as triggers: each metric alarm requests one training, however it is delivered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from peers.kafka import Broker
from support.registered_models import make_model
from support.triggered import CountedRuns, settings_below

from headrace.components.monitor.alarms import Alarm
from headrace.components.registry.open import open_registry
from headrace.components.stream.kafka import clients
from headrace.components.stream.labels.alarm import MetricAlarm
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers import alarm_topic
from headrace.pipelines.triggers.alarm_topic import AlarmTopicConfig, AlarmTrigger, trigger_by_alarm_topic

APP = "flights"


def alarm(id_: str, version: str = "", app: str = APP) -> bytes:
    window = ("2026-11-29T10:00:00Z", "2026-11-29T10:05:00Z")
    return MetricAlarm(app, version, Alarm(id_, "metric", "rmse", 5.0, 2.0, window, window[1])).encode("joiner")


class FakeMessage:
    """A message of partition 0."""

    def __init__(self, offset: int, value: bytes | None, error: KafkaError | None = None) -> None:
        self._offset, self._value, self._error = offset, value, error

    def topic(self) -> str:
        return "alarms"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> KafkaError | None:
        return self._error


class FakeConsumer:
    """A topic of one partition, which is read while it is not paused.

    Attributes:
        values: of the messages.
        committed: the offset that was committed last.
        paused: whether the partition is.
    """

    def __init__(self, *values: bytes | None) -> None:
        self.values = list(values)
        self.committed = 0
        self.paused = False
        self._at = 0
        self.revoke: Callable[..., None] = lambda *_: None

    def subscribe(self, _: Sequence[str], on_revoke: Callable[..., None]) -> None:
        self.revoke = on_revoke

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        del timeout
        if self.paused:
            return []
        found = [FakeMessage(at, self.values[at]) for at in range(self._at, min(len(self.values), self._at + count))]
        self._at += len(found)
        return found

    def assignment(self) -> list[Any]:
        return [clients_partition()]

    def pause(self, _: Sequence[Any]) -> None:
        self.paused = True

    def resume(self, partitions: Sequence[Any]) -> None:
        self.paused = self.paused and not partitions

    def commit(self, offsets: Sequence[Any], asynchronous: bool) -> None:
        assert asynchronous
        self.committed = offsets[0].offset

    def again(self) -> None:
        """The partition comes to a member anew."""
        self.revoke(self, [clients_partition()])
        self._at = self.committed


def clients_partition() -> Any:
    from confluent_kafka import TopicPartition

    return TopicPartition("alarms", 0)


class Stage:
    """A trigger on a fake consumer, whose clock is turned by hand."""

    def __init__(self, root: Path, *values: bytes | None) -> None:
        self.settings = settings_below(root)
        self.runs = CountedRuns()
        self.consumer = FakeConsumer(*values)
        self.said: list[str] = []
        self.now = 0.0
        self.trigger = self.new()

    def new(self) -> AlarmTrigger:
        return AlarmTrigger(
            AlarmTopicConfig("localhost:1", "alarms", APP, "g", tick_s=10.0),
            lambda: self.settings,
            self.consumer,  # type: ignore[arg-type]
            self.said.append,
            threading.Event(),
            runs=self.runs,
            clock=lambda: self.now,
        )

    def turn(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.trigger.turn()

    @property
    def arrivals(self) -> list[Arrival]:
        inbox = self.settings.ledger.inbox
        return inbox.read(inbox.versions())

    @property
    def run(self) -> LedgerRun | None:
        return self.settings.ledger.state().run

    def end(self) -> None:
        """The run under way ends."""
        assert self.run is not None
        state = self.settings.ledger.state()
        self.settings.ledger.claim(self.run.id, "one")
        self.settings.ledger.end(self.run.id, state.epoch + 1, "kept")

    def promote(self, folder: Path, version: str) -> None:
        registry = open_registry(self.settings.registry, new=True)
        registry.register(make_model(folder / version, version))  # type: ignore[attr-defined]
        registry.promote(version, approve=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_alarms_that_come_together_request_one_run_and_each_is_an_arrival_once(root: Path) -> None:
    stage = Stage(root, alarm("a"), alarm("b"), alarm("a"))
    stage.turn()
    ((first, second),) = stage.runs.started.values()
    assert {(each.reason, each.event) for each in (first, second)} == {("alarm", "a"), ("alarm", "b")}
    assert stage.consumer.committed == 3
    assert not stage.consumer.paused
    assert sum("a training is requested" in text for text in stage.said) == 2


def test_other_messages_request_nothing_and_are_committed(root: Path) -> None:
    outcome = ModelOutcome("refused", APP, 3, "v2", "/models/v2", "it is bad", "v1").alarm(member="me", at="2026")
    stage = Stage(root, b"{", None, outcome, alarm("a", app="other"), b'{"kind": "StreamAlarm"}')
    stage.turn()
    # They hold up no alarm behind them.
    assert (stage.consumer.committed, stage.consumer.paused) == (5, False)
    stage.turn(10.0)
    assert (stage.arrivals, stage.runs.started) == ([], {})


def test_an_alarm_that_is_delivered_again_finds_its_request(root: Path) -> None:
    stage = Stage(root, alarm("a"))
    stage.turn()
    stage.end()
    # The process was killed before it committed.
    stage.consumer.committed = 0
    stage.consumer.again()
    stage.trigger = stage.new()
    stage.turn()
    assert [each.event for each in stage.arrivals] == ["a"]
    assert len(stage.runs.started) == 1
    assert stage.consumer.committed == 1


def test_alarms_wait_for_the_run_under_way_and_count_if_it_replaced_nothing(root: Path, tmp_path: Path) -> None:
    stage = Stage(root, alarm("a", "v1"))
    stage.promote(tmp_path, "v1")
    stage.turn()
    stage.consumer.values.append(alarm("b", "v1"))
    for _ in range(3):
        stage.turn(10.0)
    assert [each.event for each in stage.arrivals] == ["a"]
    assert (stage.consumer.committed, stage.consumer.paused) == (1, True)
    stage.end()
    stage.turn(10.0)
    assert [each.event for run in stage.runs.started.values() for each in run] == ["a", "b"]
    assert (stage.consumer.committed, stage.consumer.paused) == (2, False)


def test_alarms_about_a_version_that_was_replaced_request_nothing(root: Path, tmp_path: Path) -> None:
    stage = Stage(root, alarm("a", "v1"))
    stage.promote(tmp_path, "v1")
    stage.turn()
    stage.consumer.values += [alarm("b", "v1"), alarm("c", "v1")]
    stage.turn(10.0)
    stage.promote(tmp_path, "v2")
    stage.end()
    stage.turn(10.0)
    assert [each.event for each in stage.arrivals] == ["a"]
    assert stage.consumer.committed == 3
    assert any("alarm c of version v1" in text and "version v2 has replaced it" in text for text in stage.said)
    stage.consumer.values.append(alarm("d", "v2"))
    stage.turn()
    assert sorted(each.event for each in stage.arrivals) == ["a", "d"]


def test_data_that_waits_is_trained_with_the_alarm_and_never_without(root: Path) -> None:
    stage = Stage(root)
    version = "0" * 16
    stage.settings.ledger.arrive(Arrival(version, "2026-11-20", "a.csv", "x", "file", "", "2026-11-20"))
    stage.turn(10.0)
    assert stage.runs.started == {}
    stage.consumer.values.append(alarm("a"))
    stage.turn()
    (arrivals,) = stage.runs.started.values()
    assert sorted(each.reason for each in arrivals) == ["alarm", "file"]


def test_what_fails_is_tried_again_and_commits_nothing_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(root, alarm("a"), alarm("b"))
    stage.runs.silent = True
    stage.turn()
    stage.turn()
    assert (stage.consumer.committed, stage.consumer.paused) == (0, True)
    assert stage.said[-1].startswith("the platform does not answer")
    stage.runs.silent = False
    stage.turn(60.0)
    assert len(stage.runs.started) == 1
    # The run that started is under way, and the alarms that it is for are done when it has ended.
    stage.end()
    stage.turn(60.0)
    assert (len(stage.runs.started), stage.consumer.committed) == (1, 2)

    def full(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(alarm_topic, "request", full)
    stage.consumer.values.append(alarm("c"))
    stage.turn()
    assert (stage.said[-1], stage.consumer.committed) == ("the disk is full", 2)


def test_a_run_that_the_platform_refuses_is_reported_and_its_request_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(root, alarm("a"))

    def refuse(*_: object) -> None:
        raise UsageError("the platform refuses the run")

    monkeypatch.setattr(stage.runs, "start", refuse)
    stage.turn()
    assert stage.said[-1] == "the platform refuses the run."
    assert [each.event for each in stage.arrivals] == ["a"]
    assert stage.consumer.committed == 1


def test_a_partition_that_is_taken_away_is_forgotten(root: Path) -> None:
    stage = Stage(root, alarm("a"))
    stage.runs.silent = True
    stage.consumer.subscribe(["alarms"], stage.trigger._revoke)
    stage.turn()
    stage.consumer.again()
    assert not stage.consumer.paused
    stage.consumer.values.clear()
    stage.runs.silent = False
    stage.turn(60.0)
    assert stage.consumer.committed == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bootstrap": ""}, "bootstrap is empty"),
        ({"app": ""}, "app is empty"),
        ({"group": ""}, "group is empty"),
        ({"topic": "not valid"}, "the name of the topic is not valid"),
        ({"tick_s": 0.0}, "the interval of ticks is wrong"),
        ({"properties": {"group.id": "x"}}, "the property cannot be set"),
    ],
)
def test_what_is_not_valid_is_refused(changes: dict[str, Any], message: str) -> None:
    made: dict[str, Any] = {"bootstrap": "b:1", "topic": "alarms", "app": APP, "group": "g"}
    with pytest.raises(UsageError, match=message):
        AlarmTopicConfig(**{**made, **changes})


def test_a_topic_that_cannot_be_read_ends_the_trigger(root: Path) -> None:
    stage = Stage(root)
    denied = FakeMessage(0, None, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    stage.consumer.consume = lambda *_, **__: [denied]  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="alarms cannot be read"):
        stage.turn()


def test_on_a_broker(kafka: Broker, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.topics(alarms=2)
    settings, runs = settings_below(root), CountedRuns()
    monkeypatch.setattr("headrace.pipelines.dynamic.runs.runs_of", lambda _: runs)
    config = AlarmTopicConfig(
        kafka.bootstrap, "alarms", APP, "g", tick_s=0.2, properties={"session.timeout.ms": "4000"}
    )

    def read() -> DynamicSettings:
        return settings

    def played(true: Callable[[], bool]) -> list[str]:
        """What a process reports until something is true, and it is ended."""
        said: list[str] = []
        stop = threading.Event()
        thread = threading.Thread(target=trigger_by_alarm_topic, args=(config, read, said.append, stop))
        thread.start()
        end = time.monotonic() + 600
        while not true() and time.monotonic() < end:
            time.sleep(0.05)
        stop.set()
        thread.join(600)
        assert true()
        return said

    kafka.send("alarms", alarm("a"), b"{")
    played(lambda: len(runs.started) == 1)
    kafka.send("alarms", alarm("a"), alarm("b"))
    run = settings.ledger.state().run
    assert run is not None
    settings.ledger.claim(run.id, "one")
    settings.ledger.end(run.id, 1, "kept")
    played(lambda: len(runs.started) == 2)
    inbox = settings.ledger.inbox
    assert sorted(each.event for each in inbox.read(inbox.versions())) == ["a", "b"]


def test_a_topic_that_does_not_exist_is_refused(kafka: Broker, root: Path) -> None:
    config = AlarmTopicConfig(kafka.bootstrap, "nowhere", APP, "g")
    with pytest.raises(UsageError, match="topics do not exist"):
        trigger_by_alarm_topic(config, lambda: settings_below(root), lambda _: None, threading.Event())


def test_a_commit_that_fails_costs_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(root, alarm("a"))

    def fail(**_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(stage.consumer, "commit", fail)
    stage.turn()
    assert len(stage.runs.started) == 1
    stage.turn(10.0)
    assert len(stage.arrivals) == 1


def test_clients_are_those_of_the_scorer() -> None:
    config = AlarmTopicConfig("localhost:1", "alarms", APP, "g", properties={"no.such": "property"})
    with pytest.raises(UsageError, match="a property of the Kafka client is not valid"):
        clients.group_consumer(config, config.group)
