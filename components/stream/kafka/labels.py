"""Label join on Kafka: reads predictions and labels, and writes metric events and alarms.

One process per application, without a group. After a restart, it reads again the messages of open windows, and its
events have the same ids. A window is measured when both topics are read beyond the time of its last possible label.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.components.stream.kafka.clients import close_consumer, error_of, is_users
from headrace.components.stream.kafka.label_config import LabelConfig
from headrace.components.stream.kafka.outbox import Outbox, Outgoing
from headrace.components.stream.labels.join import MeasuredWindow, WindowedJoin
from headrace.components.stream.labels.report import MetricReport
from headrace.core.errors import DataError, PlatformError
from headrace.core.json_body import parse
from headrace.core.problem import Problem

_log = logging.getLogger("headrace.stream")

_PER_TURN = 5000
_POLL_S = 0.2
_CONNECT_S = 20.0
_DRAIN_S = 10.0
# Messages created this long ago have arrived if their partition was read to its end.
_SLACK_S = 1.0
Place = tuple[str, int]


class LabelJoiner:
    """The loop of the label join. Not thread-safe.

    Args:
        problem: Problem of the application.
        config: options of the join.
        consumer: consumer with `enable.partition.eof`, not yet assigned.
        outbox: delivers events.
        report: creates events.
        member: name of this process in alarms.
        stop: set by a termination signal.
    """

    def __init__(
        self,
        problem: Problem,
        config: LabelConfig,
        consumer: Consumer,
        outbox: Outbox,
        report: MetricReport,
        *,
        member: str,
        stop: threading.Event,
    ) -> None:
        self._problem = problem
        self._config = config
        self._consumer = consumer
        self._outbox = outbox
        self._report = report
        self._member = member
        self._stop = stop
        self._join = WindowedJoin(problem, window_s=config.window_s, wait_s=config.wait_s, most=config.most)
        # Time up to which a partition was read, in milliseconds since 1970; None if it was read to its end.
        self._read_to: dict[Place, int | None] = {}
        self._give_up_at: float | None = None

    def run(self) -> None:
        """Joins until `stop` is set.

        Raises:
            UsageError: access is denied.
            PlatformError: no broker responds at the start, or the last events could not be delivered.
        """
        self._start()
        while not self._stop.is_set():
            self.turn()

    def close(self) -> None:
        """Closes the consumer."""
        close_consumer(self._consumer)

    def turn(self) -> None:
        """One turn of the loop: reads available messages, and measures windows that are complete."""
        # The time before the read, which does not include messages created later.
        now = time.time()
        messages = []
        for message in self._consumer.consume(_PER_TURN, timeout=_POLL_S):
            error, place = message.error(), (str(message.topic()), int(message.partition() or 0))
            if error is None:
                self._read_to[place] = message.timestamp()[1]
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._read_to[place] = None
            elif is_users(error):
                raise error_of(error, "the topic cannot be read", place[0])
            else:
                _log.warning("%s: %s", place[0], error.str())
        for topic, add in ((self._config.predictions, self._predictions), (self._config.labels, self._labels)):
            some = [message for message in messages if message.topic() == topic]
            if some:
                add(some)
        progress = min(now - _SLACK_S if to is None else to / 1000 for to in self._read_to.values())
        self._publish(self._join.measure(int(progress * 1e6)))

    def _start(self) -> None:
        """Assigns both topics from the earliest time that an open window needs. Earlier windows are not measured."""
        config = self._config
        need = config.wait_s + 2 * config.window_s
        since = int((time.time() - need) // config.window_s + 1) * config.window_s
        try:
            known = self._consumer.list_topics(timeout=_CONNECT_S).topics
            places = [
                TopicPartition(topic, partition, 1000 * (since - config.wait_s))
                for topic in (config.predictions, config.labels)
                for partition in known[topic].partitions
            ]
            found = self._consumer.offsets_for_times(places, timeout=_CONNECT_S)
        except KafkaException as error:
            raise error_of(error.args[0], "the topics cannot be read", config.bootstrap) from error
        for at in found:
            # If the broker does not know the offset of the time, the partition is read from its beginning.
            at.offset = at.offset if at.error is None and at.offset >= 0 else OFFSET_BEGINNING
            self._read_to[at.topic, at.partition] = 0
        self._join.measure((since + config.wait_s) * 1_000_000)
        self._consumer.assign(found)

    def _predictions(self, messages: Sequence[Message]) -> None:
        rows, keys, times = self._rows(messages)
        self._join.add_predictions(rows, keys, times)

    def _labels(self, messages: Sequence[Message]) -> None:
        rows, keys, times = self._rows(messages)
        label = self._problem.label
        values = [row.get(label.name, row.get(label.source_column)) for row in rows]
        self._join.add_labels(values, keys, times)

    def _rows(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[str | None], Any]:
        """The values of messages as rows, with their keys and their times in microseconds since 1970."""
        rows: list[dict[str, Any]] = []
        keys: list[str | None] = []
        for message in messages:
            row = _row(message.value() or b"")
            rows.append(row)
            keys.append(_key(row, message, self._problem.key))
        times = np.array([message.timestamp()[1] for message in messages], np.int64) * 1000
        return rows, keys, times

    def _publish(self, windows: Sequence[MeasuredWindow]) -> None:
        outgoing = []
        key = self._config.app.encode()
        for window in windows:
            event = self._report.event(window)
            _log.info("%s", _line(json.loads(event)))
            outgoing.append(Outgoing(self._config.metrics, key, event))
            for alarm in self._report.alarms(window):
                _log.warning("alarm %s %s", alarm.id, alarm.text)
                content = self._report.alarm_event(alarm, window, self._member)
                outgoing.append(Outgoing(self._config.alarms, key, content))
        if outgoing:
            self._outbox.deliver(outgoing, self._wait)

    def _wait(self) -> None:
        """Called while events wait for the broker. It gives up 10 s after a termination signal."""
        now = time.monotonic()
        if self._stop.is_set():
            self._give_up_at = self._give_up_at or now + _DRAIN_S
            if now > self._give_up_at:
                raise PlatformError(
                    "the last metric events were not delivered in time",
                    where=self._config.bootstrap,
                    expected=f"delivery within {_DRAIN_S:g} s after the termination signal",
                    fix=f"Start the command again: windows of the last {self._config.window_s} s are measured again",
                )


def _row(content: bytes) -> dict[str, Any]:
    """The JSON object of a message; empty if it is not an object, or contains an unpaired surrogate."""
    try:
        row = parse(content, '{"NAME": value, ...}')
        # Columns, keys and digests cannot store an unpaired surrogate.
        json.dumps(row, ensure_ascii=False).encode()
    except (DataError, UnicodeEncodeError, RecursionError):
        return {}
    return row


def _key(row: dict[str, Any], message: Message, name: str | None) -> str | None:
    """The key of a row: its field `key` or the Problem's key, else the key of its message; None without one."""
    for field in ("key", name):
        value = row.get(field) if field is not None else None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    key = message.key()
    return None if key is None else key.decode("utf-8", "replace")


def _line(event: dict[str, Any]) -> str:
    judged = event["metrics"].get(event["judged"], {}).get("value")
    value = "without a label" if judged is None else f"{event['judged']} {judged:.4g}"
    return f"{event['app']} {event['version']}, {event['begin']} to {event['end']}: {value}, {event['rows']} joined"
