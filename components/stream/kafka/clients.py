"""Kafka clients: their configuration, and the translation of librdkafka's errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from headrace.components.stream.kafka.config import KafkaConfig
from headrace.components.stream.models.outcome import member_name
from headrace.core.errors import HeadraceError, PlatformError, UsageError

_log = logging.getLogger("headrace.stream")

Properties = dict[str, Any]


class KafkaConnection(Protocol):
    """Options of every client.

    Attributes:
        bootstrap: brokers, as HOST:PORT[,HOST:PORT...].
        properties: properties of librdkafka.
        topics: all topics that are read or written, each once.
    """

    @property
    def bootstrap(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, str]: ...
    @property
    def topics(self) -> Sequence[str]: ...


# Permanent errors, which a retry cannot correct: credentials, rights, and unsupported features.
_OURS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError._INVALID_ARG,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)
_CONNECT_S = 20.0
_BETWEEN_WARNINGS_S = 10.0
CLOSE_S = 10.0


def error_of(error: KafkaError, what: str, where: str) -> HeadraceError:
    """The error for one of librdkafka: a UsageError if it is permanent, else a PlatformError.

    Args:
        error: the error of librdkafka.
        what: first sentence of the error.
        where: the topic or the brokers.
    """
    kind = UsageError if error.code() in _OURS else PlatformError
    return kind(what, where=where, received=f"{error.name()}: {error.str()}")


def is_users(error: KafkaError) -> bool:
    """Whether an error is permanent, such as denied access, so that a retry cannot help."""
    return error.code() in _OURS


def record_consumer(config: KafkaConfig, on_commit: Callable[..., None] = lambda *_: None) -> Consumer:
    """A consumer of records, without automatic commits.

    Args:
        config: options of the scorer.
        on_commit: called by `poll` with the result of a commit.
    """
    fetched = {"queued.max.messages.kbytes": config.batch_bytes >> 10, "fetch.max.bytes": config.batch_bytes}
    return group_consumer(config, config.group, **fetched, **{"on_commit": on_commit, "fetch.wait.max.ms": 20})


def group_consumer(config: KafkaConnection, group: str, **own: Any) -> Consumer:
    """A consumer of a group, which begins with the oldest message, without automatic commits.

    Args:
        config: brokers and properties.
        group: name of the group.
        own: further properties, which `config.properties` may override.
    """
    group_of = {"group.id": group, "auto.offset.reset": "earliest"}
    return _made(Consumer, config, group_of | {"enable.auto.commit": False, "enable.auto.offset.store": False} | own)


def whole_consumer(config: KafkaConnection, name: str) -> Consumer:
    """A consumer of complete topics, from their beginning, with an event at the end of each partition.

    Args:
        config: brokers and properties.
        name: group id, which the client requires. The group is never joined, and no offset is committed.
    """
    own = {"group.id": name, "enable.auto.commit": False, "enable.partition.eof": True}
    return _made(Consumer, config, own | {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})


def producer(config: KafkaConnection) -> Producer:
    """An idempotent producer: its retries create no duplicates."""
    return _made(Producer, config, {"enable.idempotence": True, "linger.ms": 5})


def close_consumer(consumer: Consumer, *, within_s: float = CLOSE_S) -> bool:
    """Closes a consumer, and leaves its group, in bounded time; returns whether it ended.

    librdkafka waits for the result of an asynchronous commit while a consumer is closed, which may take minutes, or not
    end, when the broker is unreachable. Nothing depends on it: the group removes the member after its session timeout.

    Args:
        consumer: the consumer, which no other thread uses; not usable any more afterwards.
        within_s: maximum time to wait, in seconds. The process can end while the thread that closes still waits.
    """
    closing = threading.Thread(target=consumer.close, name="close-consumer", daemon=True)
    closing.start()
    closing.join(within_s)
    if closing.is_alive():
        _log.warning("the broker did not respond within %g s: the group removes this member later", within_s)
    return not closing.is_alive()


def _made(kind: type, config: KafkaConnection, own: Properties) -> Any:
    properties: Properties = {
        "bootstrap.servers": config.bootstrap,
        "client.id": member_name(),
        "error_cb": _Warnings(),
        # error_cb reports what matters; the log has a line per attempt to connect.
        "log_level": 2,
        "logger": _log,
        "reconnect.backoff.max.ms": 2000,
    }
    producing = {"linger.ms", "enable.idempotence", "compression.type", "acks", "message.max.bytes", "partitioner"}
    given = {n: v for n, v in config.properties.items() if kind is Producer or n not in producing}
    consuming = ("fetch.", "session.", "max.poll.", "group.", "partition.assignment.", "isolation.", "auto.offset.")
    given = {n: v for n, v in given.items() if kind is Consumer or not n.startswith(consuming)}
    try:
        return kind(properties | own | given)
    except (KafkaException, ValueError, TypeError) as error:
        raise UsageError("a property of the Kafka client is not valid", where="--property", received=str(error)) from (
            error
        )


class _Warnings:
    """Logs errors from which librdkafka recovers, such as a broker that is down: each kind at most every 10 s."""

    def __init__(self) -> None:
        self._logged: dict[int, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._logged.get(error.code(), -_BETWEEN_WARNINGS_S) >= _BETWEEN_WARNINGS_S:
            self._logged[error.code()] = now
            _log.warning("kafka: %s: %s", error.name(), error.str())


def check_topics(consumer: Consumer, config: KafkaConnection) -> None:
    """Checks that a broker responds, and that all topics exist.

    Raises:
        UsageError: a topic does not exist, or access is denied.
        PlatformError: no broker responds within 20 s.
    """
    try:
        known = consumer.list_topics(timeout=_CONNECT_S).topics
    except KafkaException as error:
        raise error_of(error.args[0], "no broker answers", config.bootstrap) from error
    missing = [topic for topic in config.topics if topic not in known or known[topic].error is not None]
    if missing:
        raise UsageError(
            "topics do not exist",
            where=config.bootstrap,
            expected=", ".join(config.topics),
            received=f"no {', no '.join(missing)}",
            fix="Create them, or correct the options",
        )
