"""Outbox: delivers all messages of a batch before the batch is committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Producer

from headrace.components.stream.kafka.clients import error_of, is_users
from headrace.core.retry import backoff_seconds

_log = logging.getLogger("headrace.stream")

_FLUSH_S = 0.2
_MAX_WAIT_S = 5.0
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE})

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to deliver."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Outbox:
    """Delivers messages at least once. Not thread-safe.

    Args:
        make: creates the producer; called again after a fatal error of the producer.
        retried: called with the number of messages that are sent again.
    """

    def __init__(self, make: Callable[[], Producer], retried: Callable[[int], None] = lambda _: None) -> None:
        self._make = make
        self._retried = retried
        self._producer = make()
        self._failed: dict[int, KafkaError] = {}

    def deliver(self, messages: Sequence[Outgoing], wait: Callable[[], None]) -> list[int]:
        """Delivers messages, and waits for a broker that is down.

        Args:
            messages: messages of a batch.
            wait: called several times per second while messages are under way; it may raise an error to give up.

        Returns:
            The indices of messages that exceed the maximum size of the broker or the client, and were not delivered.

        Raises:
            UsageError: access is denied.
        """
        large: list[int] = []
        attempts = 0
        left: Sequence[int] = range(len(messages))
        while left:
            self._failed = {}
            for index in left:
                self._produce(index, messages[index], wait)
            while self._producer.flush(_FLUSH_S):
                wait()
            left = []
            fatal = False
            for index, error in sorted(self._failed.items()):
                if error.code() in _TOO_LARGE:
                    large.append(index)
                    continue
                if is_users(error):
                    raise error_of(error, "a message cannot be delivered", messages[index].topic)
                fatal = fatal or error.fatal() or error.code() == KafkaError._FATAL
                left.append(index)
            if left:
                attempts += 1
                self._retried(len(left))
                reason = self._failed[left[0]]
                _log.warning("%d messages are sent again: %s", len(left), reason.str())
                if fatal:
                    self._producer = self._make()
                _pause(backoff_seconds(attempts, max_s=_MAX_WAIT_S), wait)
        return large

    def send(self, message: Outgoing) -> None:
        """Sends a message without waiting for its delivery. `deliver` and `close` wait for it."""
        try:
            self._producer.produce(message.topic, value=message.value, key=message.key, headers=list(message.headers))
        except (BufferError, KafkaException) as error:
            _log.error("a message to %s is lost: %s", message.topic, error)

    def close(self, timeout_s: float) -> None:
        """Waits for the delivery of messages from `send`, at most `timeout_s` seconds."""
        self._producer.flush(timeout_s)

    def _produce(self, index: int, message: Outgoing, wait: Callable[[], None]) -> None:
        def report(error: KafkaError | None, _: object) -> None:
            if error is not None:
                self._failed[index] = error

        headers = list(message.headers) or None
        while True:
            try:
                self._producer.produce(
                    message.topic, value=message.value, key=message.key, headers=headers, on_delivery=report
                )
            except BufferError:
                # The queue is full: wait for the delivery of its messages.
                self._producer.poll(_FLUSH_S)
                wait()
                continue
            except KafkaException as error:
                self._failed[index] = error.args[0]
            return


def _pause(seconds: float, wait: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _FLUSH_S))
        wait()
