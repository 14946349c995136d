"""Model topic: each scorer reads it completely from its beginning, without a group, and then follows it.

The end of a partition is detected by the end-of-partition event of a fetch. The end offset that a broker reports is not
used, because some brokers report it late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.components.stream.kafka.clients import close_consumer, error_of, is_users
from headrace.core.errors import PlatformError, UsageError

_log = logging.getLogger("headrace.stream")

# Maximum messages per turn of the loop, so that a long topic does not delay records.
_PER_TURN = 100
_POLL_S = 0.1


class ModelTopic:
    """A reader of the model topic. Not thread-safe.

    Args:
        consumer: consumer with `enable.partition.eof`; `close` closes it.
        topic: topic of model events.
        read: called with each message and its position.
    """

    def __init__(self, consumer: Consumer, topic: str, read: Callable[[bytes | None, str], None]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._read = read
        self._ends: set[int] = set()
        self._partitions: frozenset[int] = frozenset()

    @property
    def at_end(self) -> bool:
        """Whether the end of every partition was reached at least once."""
        return bool(self._partitions) and self._partitions <= self._ends

    def start(self, timeout_s: float = 20.0) -> None:
        """Assigns all partitions from their beginning.

        Args:
            timeout_s: maximum time to wait for a broker, in seconds.

        Raises:
            UsageError: access is denied.
            PlatformError: no broker responds, or the topic does not exist.
        """
        try:
            known = self._consumer.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        except KafkaException as error:
            raise error_of(error.args[0], "the model topic cannot be read", self._topic) from error
        if known.error is not None:
            raise error_of(known.error, "the model topic cannot be read", self._topic)
        self._partitions = frozenset(known.partitions)
        self._consumer.assign([TopicPartition(self._topic, p, OFFSET_BEGINNING) for p in sorted(self._partitions)])

    def poll(self) -> int:
        """Reads available messages, without waiting; returns their number.

        Raises:
            UsageError: access is denied.
            PlatformError: the client failed.
        """
        return sum(self._take(message) for message in self._consumer.consume(_PER_TURN, timeout=0))

    def read_to_end(self, stopped: Callable[[], bool], *, tick: Callable[[], None] = lambda: None) -> bool:
        """Reads all messages up to the end of every partition, and waits for a broker that is down.

        Args:
            stopped: returns whether to give up.
            tick: called after each wait.

        Returns:
            Whether the end was reached.

        Raises:
            UsageError, PlatformError: as of `poll`.
        """
        while not self.at_end:
            if stopped():
                return False
            message = self._consumer.poll(_POLL_S)
            if message is not None:
                self._take(message)
            tick()
        return True

    def close(self) -> None:
        """Closes the consumer."""
        close_consumer(self._consumer)

    def _take(self, message: Message) -> int:
        error = message.error()
        partition = message.partition()
        if error is None:
            self._read(message.value(), f"topic {message.topic()}, partition {partition}, offset {message.offset()}")
            return 1
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends.add(partition if partition is not None else -1)
        elif is_users(error):
            raise UsageError("the model topic cannot be read", where=self._topic, received=error.str())
        elif error.fatal():
            raise PlatformError("the model topic cannot be read", where=self._topic, received=error.str())
        else:
            _log.warning("model topic %s: %s", self._topic, error.str())
        return 0
