"""Offset commit: retried while the broker is down, without partitions that were revoked in the meantime."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import KafkaError, TopicPartition

from headrace.components.stream.kafka.clients import error_of, is_users
from headrace.core.retry import backoff_seconds

_log = logging.getLogger("headrace.stream")

_MAX_WAIT_S = 2.0
_TICK_S = 0.1
# The group has rebalanced without this member, which reads from the committed offsets again.
_LOST = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._FENCED,
    }
)


def commit(
    attempt: Callable[[list[TopicPartition]], KafkaError | None],
    offsets: Mapping[tuple[str, int], int],
    *,
    lost: Collection[tuple[str, int]],
    wait: Callable[[], None],
    retried: Callable[[], None],
) -> None:
    """Commits offsets, and retries temporary errors.

    Args:
        attempt: commits once; returns the error, or None.
        offsets: offset of the next record to read, by topic and partition.
        lost: revoked partitions, which are not committed. It may grow while `attempt` or `wait` is called.
        wait: called repeatedly while waiting; it may raise an error to give up.
        retried: called after each failed attempt.

    Raises:
        UsageError: access is denied.
    """
    attempts = 0
    while True:
        left = [TopicPartition(topic, p, offset) for (topic, p), offset in offsets.items() if (topic, p) not in lost]
        error = attempt(left) if left else None
        if error is None:
            return
        if is_users(error):
            raise error_of(error, "offsets cannot be committed", left[0].topic)
        _log.warning("offsets are not committed: %s", error.str())
        retried()
        if error.code() in _LOST:
            return
        attempts += 1
        end = time.monotonic() + backoff_seconds(attempts, max_s=_MAX_WAIT_S)
        while time.monotonic() < end:
            wait()
            time.sleep(_TICK_S)
