"""Delivery and commit while a broker fails, by a client that fails as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from headrace.components.stream.kafka import commit as committing
from headrace.components.stream.kafka import outbox as delivering
from headrace.components.stream.kafka.commit import commit
from headrace.components.stream.kafka.outbox import Outbox, Outgoing
from headrace.core.errors import PlatformError, UsageError

FATAL = KafkaError(KafkaError._FATAL, fatal=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "_MAX_WAIT_S", 0.001)
    monkeypatch.setattr(committing, "_MAX_WAIT_S", 0.001)
    monkeypatch.setattr(committing, "_TICK_S", 0.0)


class FakeProducer:
    """Delivers messages, except those whose value names an error: as often as is said."""

    def __init__(self, failures: dict[bytes, list[Any]]) -> None:
        self.failures = failures
        self.delivered: list[bytes] = []
        self._waiting: list[tuple[bytes, Callable[..., None]]] = []

    def produce(self, topic: str, *, value: bytes, key: Any, headers: Any, on_delivery: Callable[..., None]) -> None:
        failures = self.failures.get(value, [])
        if failures and failures[0] is BufferError:
            failures.pop(0)
            raise BufferError
        if failures and isinstance(failures[0], KafkaException):
            raise failures.pop(0)
        self._waiting.append((value, on_delivery))

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        if self._waiting:
            value, report = self._waiting.pop(0)
            failures = self.failures.get(value, [])
            if failures:
                report(KafkaError(failures[0]) if isinstance(failures[0], int) else failures[0], None)
                failures.pop(0)
            else:
                self.delivered.append(value)
                report(None, None)
        return len(self._waiting)


def messages(*values: bytes) -> list[Outgoing]:
    return [Outgoing("predictions", None, value) for value in values]


def test_only_what_failed_is_sent_again() -> None:
    made: list[FakeProducer] = []
    failures: dict[bytes, list[Any]] = {b"b": [KafkaError._MSG_TIMED_OUT] * 3, b"c": [BufferError]}
    retried: list[int] = []

    def make() -> Any:
        made.append(FakeProducer(failures))
        return made[-1]

    waits: list[int] = []
    assert Outbox(make, retried.append).deliver(messages(b"a", b"b", b"c"), lambda: waits.append(1)) == []
    assert [producer.delivered for producer in made] == [[b"a", b"c", b"b"]]
    assert retried == [1, 1, 1]
    assert waits


def test_a_producer_that_cannot_go_on_is_made_again() -> None:
    made: list[FakeProducer] = []
    failures: dict[bytes, list[Any]] = {b"a": [FATAL], b"b": [KafkaError._PURGE_QUEUE]}

    def make() -> Any:
        made.append(FakeProducer(failures))
        return made[-1]

    assert Outbox(make).deliver(messages(b"a", b"b", b"c"), lambda: None) == []
    assert [producer.delivered for producer in made] == [[b"c"], [b"a", b"b"]]


def test_what_is_too_large_is_returned() -> None:
    large = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    producer = FakeProducer({b"a": [large], b"c": [KafkaError.MSG_SIZE_TOO_LARGE]})
    assert Outbox(lambda: producer).deliver(messages(b"a", b"b", b"c"), lambda: None) == [0, 2]  # type: ignore[arg-type,return-value]
    assert producer.delivered == [b"b"]


def test_a_missing_right_is_the_users_to_correct() -> None:
    producer = FakeProducer({b"a": [KafkaError.TOPIC_AUTHORIZATION_FAILED]})
    with pytest.raises(UsageError, match="a message cannot be delivered"):
        Outbox(lambda: producer).deliver(messages(b"a"), lambda: None)  # type: ignore[arg-type,return-value]


def test_waiting_for_delivery_ends_when_it_must() -> None:
    producer = FakeProducer({b"a": [KafkaError._MSG_TIMED_OUT] * 1000})

    def wait() -> None:
        raise PlatformError("the process must end")

    with pytest.raises(PlatformError, match="must end"):
        Outbox(lambda: producer).deliver(messages(b"a", b"b"), wait)  # type: ignore[arg-type,return-value]


class FakeConsumer:
    """Commits, after errors."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.commits: list[dict[tuple[str, int], int]] = []

    def __call__(self, offsets: list[TopicPartition]) -> KafkaError | None:
        if self.errors:
            return KafkaError(self.errors.pop(0))
        self.commits.append({(tp.topic, tp.partition): tp.offset for tp in offsets})
        return None


OFFSETS = {("rides", 0): 5, ("rides", 1): 7}


def committed(consumer: FakeConsumer, lost: set[tuple[str, int]], wait: Callable[[], None] = lambda: None) -> int:
    retried: list[int] = []
    commit(consumer, OFFSETS, lost=lost, wait=wait, retried=lambda: retried.append(1))
    return len(retried)


def test_a_commit_is_repeated_while_the_broker_is_down() -> None:
    consumer = FakeConsumer(KafkaError._TRANSPORT, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._TIMED_OUT)
    assert committed(consumer, set()) == 3
    assert consumer.commits == [OFFSETS]


def test_a_partition_that_is_taken_away_while_waiting_is_not_committed() -> None:
    consumer, lost = FakeConsumer(KafkaError.REBALANCE_IN_PROGRESS), set[tuple[str, int]]()
    committed(consumer, lost, lambda: lost.add(("rides", 0)))
    assert consumer.commits == [{("rides", 1): 7}]
    consumer = FakeConsumer()
    committed(consumer, set(OFFSETS))
    assert consumer.commits == []


def test_a_group_that_has_moved_on_is_not_committed_to() -> None:
    consumer = FakeConsumer(KafkaError.ILLEGAL_GENERATION)
    assert committed(consumer, set()) == 1
    assert consumer.commits == []


def test_a_missing_right_to_commit_is_the_users_to_correct() -> None:
    with pytest.raises(UsageError, match="offsets cannot be committed"):
        committed(FakeConsumer(KafkaError.GROUP_AUTHORIZATION_FAILED), set())
