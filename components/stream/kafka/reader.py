"""Record reader: a consumer of the group, its partitions, and the records that are read but not yet committed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.components.stream.kafka.clients import close_consumer, error_of, is_users
from headrace.components.stream.kafka.commit import commit

_log = logging.getLogger("headrace.stream")

Partition = tuple[str, int]
OnCommit = Callable[[KafkaError | None, Sequence[TopicPartition]], None]

# A poll that serves the result of a commit returns only with a record, or at its timeout.
_COMMIT_POLL_S = 0.002
# Maximum batches that are read while waiting for a commit, whose result the client serves only together with records.
_BATCHES_READ = 4


class RecordReader:
    """Reads records of several topics as a member of a group. Not thread-safe.

    The records of a revoked partition are dropped: its next owner reads from the committed offset.

    Args:
        make: creates the consumer, without automatic commits, from a function that receives the result of a commit.
        topics: topics of records.
        most: maximum records per batch.
        most_bytes: approximate maximum bytes of records that are read while a batch is committed.
    """

    def __init__(
        self, make: Callable[[OnCommit], Consumer], topics: Collection[str], most: int, most_bytes: int = 16 << 20
    ) -> None:
        self._consumer = make(self._on_commit)
        self._most_bytes = most_bytes
        self._topics = sorted(topics)
        self._most = most
        self._held: dict[str, list[Message]] = {}
        self._stash: list[Message] = []
        # Bytes of the records that were read during the last commit.
        self._stash_bytes = 0
        self._revoked: set[Partition] = set()
        self._paused: set[Partition] = set()
        # The commit under way: its offsets, also in the form in which they were sent; whether its result is pending;
        # the error if it could not be sent; the partitions revoked since; and its result.
        self._committing: dict[Partition, int] = {}
        self._sent: set[tuple[str, int, int]] = set()
        self._under_way = False
        self._failed: KafkaError | None = None
        self._lost: set[Partition] = set()
        self._committed: list[KafkaError | None] = []

    @property
    def buffered(self) -> dict[str, int]:
        """Number of held records by topic."""
        return {topic: len(messages) for topic, messages in self._held.items()}

    @property
    def revoked(self) -> Collection[Partition]:
        """Partitions revoked since the last batch was read. Their next owner reads its records again."""
        return self._revoked

    def subscribe(self) -> None:
        """Joins the group."""
        self._consumer.subscribe(self._topics, on_assign=self._assign, on_revoke=self._revoke)

    def close(self) -> None:
        """Leaves the group, in bounded time; see `clients.close_consumer`."""
        close_consumer(self._consumer)

    def take(self, wait_s: float) -> list[Message]:
        """The available records, as one batch; empty if there are none.

        Args:
            wait_s: maximum wait for the first record, in seconds. It does not wait for further records.

        Raises:
            UsageError: access is denied.
            PlatformError: the client failed.
        """
        messages, self._stash = self._stash[: self._most], self._stash[self._most :]
        self._revoked.clear()
        try:
            if not messages:
                first = self._consumer.poll(wait_s)
                if first is None:
                    return []
                # Records of partitions that the next call revokes are dropped below. librdkafka itself drops them from
                # the messages that the call returns.
                self._revoked.clear()
                messages = [first]
            left = self._most - len(messages)
            more = self._consumer.consume(left, timeout=0) if left > 0 else []
        except KafkaException as error:
            raise error_of(error.args[0], "records cannot be read", ", ".join(self._topics)) from error
        messages = [*(message for message in messages if place_of(message) not in self._revoked), *more]
        self._pause_held()
        self._revoked.clear()
        return [message for message in messages if self._valid(message)]

    def hold(self, topic: str, messages: Sequence[Message]) -> None:
        """Holds records in memory, and pauses their topic until `release`, so that at most two batches are held."""
        self._held.setdefault(topic, []).extend(messages)
        self._pause_held()

    def release(self, topic: str) -> list[list[Message]]:
        """Returns the held records of a topic in batches, and resumes the topic."""
        messages = self._held.pop(topic, [])
        self._revoked.clear()
        self.resume()
        return [messages[first : first + self._most] for first in range(0, len(messages), self._most)]

    def stay(self) -> None:
        """Stays in the group during a long wait: polls with all partitions paused, until `resume`."""
        self._pause(self._assigned() - self._paused)
        self._poll(0)

    def resume(self) -> None:
        """Resumes paused partitions, except those of held topics."""
        places = {place for place in self._paused if place[0] not in self._held}
        if places:
            self._consumer.resume(_partitions(places & self._assigned()))
            self._paused -= places

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Begins to commit offsets of the last batch, without waiting; see `settle`."""
        self._committing = dict(offsets)
        self._lost = {place for place in offsets if place in self._revoked}
        self._under_way = False
        left = [TopicPartition(*place, offset) for place, offset in offsets.items() if place not in self._lost]
        if left:
            self._failed = self._begin(left)
            self._under_way = True

    def settle(self, wait: Callable[[], None], retried: Callable[[], None]) -> None:
        """Waits for the end of the last commit. Arguments and errors as of `commit.commit`."""
        if not self._committing:
            return
        offsets, self._committing = self._committing, {}

        def attempt(left: list[TopicPartition]) -> KafkaError | None:
            if not self._under_way:
                self._failed = self._begin(left)
            self._under_way = False
            places = {(tp.topic, tp.partition) for tp in left}
            while self._failed is None and not self._committed:
                if places <= self._lost:
                    return None
                if self._full:
                    self._pause(self._assigned() - self._paused)
                self._poll(_COMMIT_POLL_S)
                wait()
            return self._failed if self._failed is not None else self._committed[-1]

        commit(attempt, offsets, lost=self._lost, wait=wait, retried=retried)
        self.resume()

    def _begin(self, offsets: list[TopicPartition]) -> KafkaError | None:
        self._committed.clear()
        self._sent = {(tp.topic, tp.partition, tp.offset) for tp in offsets}
        self._stash_bytes = sum(map(len, self._stash))
        try:
            # Asynchronous, because a synchronous call returns only after minutes while the broker is down.
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            found: KafkaError = error.args[0]
            return found
        return None

    @property
    def _full(self) -> bool:
        """Whether enough records were read for the next batches."""
        return len(self._stash) >= _BATCHES_READ * self._most or self._stash_bytes >= self._most_bytes

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        # The late result of an earlier commit is ignored.
        if {(tp.topic, tp.partition, tp.offset) for tp in partitions} == self._sent:
            self._committed.append(error or next((tp.error for tp in partitions if tp.error is not None), None))

    def _poll(self, wait_s: float) -> None:
        """Serves the client's callbacks. A record that arrives is stored for the next batch."""
        message = self._consumer.poll(wait_s)
        if message is not None and self._valid(message):
            self._stash.append(message)
            self._stash_bytes += len(message)

    def waiting(self) -> dict[Partition, int | None]:
        """Number of records that are not scored yet, by partition of this member: records in the broker, by the high
        watermark of the last fetch, and records that were read. None if nothing was read yet, or the client failed.
        """
        found: dict[Partition, int | None] = dict.fromkeys(sorted(self._assigned()))
        read = Counter(map(place_of, chain(self._stash, *self._held.values())))
        try:
            for at in self._consumer.position(_partitions(set(found))):
                _, high = self._consumer.get_watermark_offsets(at, cached=True)
                if at.offset >= 0 and high >= 0:
                    place = at.topic, at.partition
                    found[place] = max(0, high - at.offset) + read[place]
        except KafkaException as error:
            _log.warning("the lag is unknown: %s", error)
        return found

    def _valid(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if is_users(error) or error.fatal():
            raise error_of(error, "records cannot be read", message.topic() or ", ".join(self._topics))
        _log.warning("records: %s", error.str())
        return False

    def _assigned(self) -> set[Partition]:
        return {(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def _pause_held(self) -> None:
        if self._held:
            self._pause({place for place in self._assigned() if place[0] in self._held} - self._paused)

    def _pause(self, places: set[Partition]) -> None:
        if places:
            self._consumer.pause(_partitions(places))
            self._paused |= places

    def _assign(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        _log.info("partitions assigned: %s", _shown(partitions))

    def _revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        _log.info("partitions revoked: %s", _shown(partitions))
        places = {(tp.topic, tp.partition) for tp in partitions}
        self._revoked |= places
        self._lost |= places
        # The client remembers a pause after the revocation, so a partition that is assigned again would not be read.
        self._consumer.resume(_partitions(places & self._paused))
        self._paused -= places
        self._stash = [message for message in self._stash if place_of(message) not in places]
        for topic, held in list(self._held.items()):
            left = [message for message in held if place_of(message) not in places]
            # The topic is held until `release`, so that newly assigned partitions are paused as well.
            self._held[topic] = left


def place_of(message: Message) -> Partition:
    """Topic and partition of a message."""
    return str(message.topic()), int(message.partition() or 0)


def _partitions(places: set[Partition]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for topic, partition in sorted(places)]


def _shown(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions) or "none"
