"""Reading and committing while partitions are taken away, by a client that does as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from headrace.components.stream.kafka import commit as committing
from headrace.components.stream.kafka import scorer as scoring_loop
from headrace.components.stream.kafka.config import KafkaConfig, Route
from headrace.components.stream.kafka.outbox import Outgoing
from headrace.components.stream.kafka.reader import RecordReader
from headrace.components.stream.kafka.scorer import KafkaScorer
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.score import RecordResult

PARTITIONS = 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_MAX_WAIT_S", 0.001)
    monkeypatch.setattr(committing, "_TICK_S", 0.0)
    # The lag is measured in each turn.
    monkeypatch.setattr(scoring_loop, "_LAG_EVERY_S", 0.0)


class Record:
    """A record, whose value is its partition and offset."""

    def __init__(self, partition: int, offset: int) -> None:
        self._partition, self._offset = partition, offset

    def topic(self) -> str:
        return "rides"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None

    def value(self) -> bytes:
        return f"{self._partition}.{self._offset}".encode()

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000

    def __len__(self) -> int:
        return 3


class Client:
    """A consumer. Each poll does the next thing that it was told: calls it, or returns it.

    Attributes:
        polls: what polls do.
        commits: offsets of each commit, by partition.
        results: error of each commit, which a poll gives; None for success, "never" for none.
        highs: high watermark of each partition; none before its first fetch.
        failing: whether the client does not know its position.
    """

    def __init__(self) -> None:
        self.polls: list[Any] = []
        self.commits: list[dict[int, int]] = []
        self.results: list[int | str | None] = []
        self.assigned = set(range(PARTITIONS))
        self.paused: set[int] = set()
        self.highs: dict[int, int] = {}
        self.failing = False
        self._next: dict[int, int] = {}
        self.on_commit: Callable[..., None] = lambda *_: None
        self._revoke: Callable[..., None] = lambda *_: None
        self._due: list[Callable[[], None]] = []

    def made(self, on_commit: Callable[..., None]) -> Any:
        self.on_commit = on_commit
        return self

    def subscribe(self, _: Sequence[str], on_assign: Any, on_revoke: Callable[..., None]) -> None:
        del on_assign
        self._revoke = on_revoke

    def poll(self, _: float = 0.0) -> Record | None:
        if self.polls:
            done = self.polls.pop(0)
            return self._read(done() if callable(done) else done)
        for due in self._due:
            due()
        self._due = []
        return None

    def consume(self, count: int, timeout: float) -> list[Record]:
        del timeout
        found = []
        while self.polls and isinstance(self.polls[0], Record) and len(found) < count:
            found.append(self.polls.pop(0))
            self._read(found[-1])
        return found

    def _read(self, record: Record | None) -> Record | None:
        if record is not None:
            self._next[record.partition()] = record.offset() + 1
        return record

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.commits.append({tp.partition: tp.offset for tp in offsets})
        result = self.results.pop(0) if self.results else None
        if result != "never":
            error = None if result is None else KafkaError(result)
            self._due.append(lambda: self.on_commit(error, list(offsets)))

    def revoke(self, partition: int) -> None:
        self.assigned.discard(partition)
        self._next.pop(partition, None)
        self._revoke(self, [TopicPartition("rides", partition)])

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("rides", partition) for partition in sorted(self.assigned)]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {tp.partition for tp in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= {tp.partition for tp in partitions}

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        if self.failing:
            raise KafkaException(KafkaError(KafkaError._STATE))
        return [
            TopicPartition(tp.topic, tp.partition, self._next.get(tp.partition, OFFSET_INVALID)) for tp in partitions
        ]

    def get_watermark_offsets(self, partition: TopicPartition, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, self.highs.get(partition.partition, OFFSET_INVALID)

    def close(self) -> None:
        """Nothing."""


class Scoring:
    """Scores every record."""

    settled = True
    in_use: ClassVar[dict[str, UsedModel | None]] = {}

    def start(self, *_: object) -> bool:
        return True

    def turn(self) -> Sequence[Any]:
        return ()

    def has_model(self, _: str) -> bool:
        return True

    def score(self, _: str, values: Sequence[bytes | None], __: object) -> tuple[UsedModel | None, list[RecordResult]]:
        return UsedModel("v1", 1), [RecordResult(value, None, 1) for value in values]

    def close(self) -> None:
        """Nothing."""


class Box:
    """An outbox that keeps what it delivers."""

    def __init__(self) -> None:
        self.delivered: list[bytes | None] = []

    def deliver(self, messages: Sequence[Outgoing], _: object) -> list[int]:
        self.delivered += [message.value for message in messages]
        return []

    def close(self, _: float) -> None:
        """Nothing."""


class Stage:
    """A scorer on such a client."""

    def __init__(self) -> None:
        self.client, self.box = Client(), Box()
        self.reader = RecordReader(self.client.made, ["rides"], 10)
        self.reader.subscribe()
        config = KafkaConfig("b:1", "g", [Route("taxi", "rides", "fares")], "dead", "models", poll_s=0.01)
        self.metrics = StreamMetrics(dict)
        self.scorer = KafkaScorer(
            config, Scoring(), self.metrics, self.reader, self.box, member="m", stop=threading.Event()  # type: ignore[arg-type]
        )  # fmt: skip

    def turn(self, *polls: Any) -> None:
        self.client.polls += polls
        self.scorer.turn()

    @property
    def lag(self) -> tuple[dict[int, float], float | None]:
        """Records that are not scored yet, by partition, and the age of the oldest one."""
        records, seconds = {}, None
        for line in self.metrics.text().splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("headrace_stream_lag_records{"):
                partition = name.removeprefix('headrace_stream_lag_records{topic="rides",partition="')
                records[int(partition.removesuffix('"}'))] = float(value)
            elif name == 'headrace_stream_lag_seconds{app="taxi"}':
                seconds = float(value)
        return records, seconds


def test_the_next_batch_is_delivered_after_the_commit_of_the_last_one() -> None:
    stage = Stage()
    stage.turn(Record(0, 4), Record(1, 7))
    assert (stage.client.commits, stage.box.delivered) == ([{0: 5, 1: 8}], [b"0.4", b"1.7"])
    delivered: list[int] = []

    def result_comes() -> None:
        delivered.append(len(stage.box.delivered))
        stage.client.on_commit(None, [TopicPartition("rides", 0, 5), TopicPartition("rides", 1, 8)])

    stage.client._due.clear()
    stage.turn(Record(0, 5), None, result_comes)
    assert delivered == [2]
    assert stage.box.delivered[2:] == [b"0.5"]


def test_a_batch_of_a_partition_that_is_taken_away_during_the_commit_is_dropped() -> None:
    stage = Stage()
    stage.turn(Record(0, 4), Record(1, 7))
    stage.turn(Record(0, 5), Record(1, 8), lambda: stage.client.revoke(1))
    assert stage.box.delivered[2:] == [b"0.5"]
    assert stage.client.commits == [{0: 5, 1: 8}, {0: 6}]
    # What is read of it when it comes back is another batch.
    stage.client.assigned.add(1)
    stage.turn(Record(1, 8))
    assert stage.box.delivered[3:] == [b"1.8"]
    assert stage.client.commits[2:] == [{1: 9}]


def test_a_commit_that_fails_is_repeated_without_what_was_taken_away() -> None:
    stage = Stage()
    stage.client.results = [KafkaError._TRANSPORT]
    stage.turn(Record(0, 4), Record(1, 7))
    stage.turn(lambda: stage.client.revoke(1))
    # Nothing came: the result is waited for.
    assert stage.client.commits == [{0: 5, 1: 8}, {0: 5}]
    assert 'retries_total{what="commit"} 1\n' in stage.metrics.text()


def test_the_late_result_of_a_commit_that_was_given_up_is_not_that_of_the_next_one() -> None:
    stage = Stage()
    stage.client.results = ["never"]
    stage.turn(Record(1, 7))
    stage.turn(Record(0, 4), lambda: stage.client.revoke(1), Record(0, 5))
    late = [TopicPartition("rides", 1, 8)]
    stage.turn(lambda: stage.client.on_commit(KafkaError(KafkaError.ILLEGAL_GENERATION), late))
    assert 'what="commit"' not in stage.metrics.text()
    assert stage.box.delivered == [b"1.7", b"0.4", b"0.5"]
    assert stage.client.commits == [{1: 8}, {0: 5}, {0: 6}]


def test_a_record_that_comes_during_a_commit_is_in_the_next_batch() -> None:
    stage = Stage()
    stage.turn(Record(0, 4))
    stage.turn(Record(0, 5), None, Record(0, 6))
    assert stage.box.delivered == [b"0.4", b"0.5"]
    stage.turn()
    assert stage.box.delivered[2:] == [b"0.6"]
    stage.turn()
    assert stage.client.commits == [{0: 5}, {0: 6}, {0: 7}]


def test_the_lag_is_what_is_not_scored_yet() -> None:
    stage = Stage()
    stage.client.highs = {0: 9, 1: 8}
    stage.turn()
    # Nothing was read, so that the position is not known.
    assert stage.lag == ({}, None)
    stage.turn(Record(0, 4), Record(1, 7))
    records, seconds = stage.lag
    assert records == {0: 4, 1: 0}
    # The records are of 1970.
    assert seconds is not None
    assert seconds > 1_000_000_000
    # All of the broker's records are read: one is scored, and one that came during the commit waits.
    stage.client.highs = {0: 7, 1: 8}
    stage.turn(Record(0, 5), None, Record(0, 6))
    records, seconds = stage.lag
    assert records == {0: 1, 1: 0}
    assert seconds is not None
    assert seconds > 1_000_000_000
    stage.turn()
    assert stage.lag == ({0: 0, 1: 0}, 0.0)


def test_a_member_without_partitions_has_no_lag() -> None:
    stage = Stage()
    stage.client.highs = {0: 9, 1: 8}
    stage.turn(Record(0, 4), Record(1, 7))
    stage.client.failing = True
    stage.turn()
    records, seconds = stage.lag
    assert records == {}
    # The client does not know it, so that the last one stays.
    assert seconds is not None
    assert seconds > 1_000_000_000
    stage.client.failing = False
    stage.turn(lambda: stage.client.revoke(0))
    assert stage.lag == ({1: 0}, 0.0)
    stage.client.assigned.add(0)
    stage.turn(Record(0, 4))
    records, seconds = stage.lag
    assert records == {0: 4, 1: 0}
    assert seconds != 0
    stage.turn(lambda: stage.client.revoke(0))
    stage.turn(lambda: stage.client.revoke(1))
    assert stage.lag == ({}, 0.0)


def test_held_records_are_part_of_the_lag() -> None:
    stage = Stage()
    stage.client.highs = {0: 6, 1: 8}
    stage.reader.hold("rides", [Record(0, 4)])  # type: ignore[list-item]
    stage.client._next = {0: 5}
    assert stage.reader.waiting() == {("rides", 0): 2, ("rides", 1): None}
