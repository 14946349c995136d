"""Alarm topic: each metric alarm of an application requests a training once, however often it is delivered.

Alarms wait while a run is under way, because the run may replace their version. An alarm about a replaced version
requests nothing. Offsets are committed after the requests are in the inbox. The ids of requests depend only on the
alarms, so after a kill, or with several processes in the group, no request is added twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from headrace.components.registry.open import open_registry
from headrace.components.registry.state import CHAMPION
from headrace.components.stream.kafka import clients
from headrace.components.stream.kafka.config import check_properties, check_topic
from headrace.components.stream.labels.alarm import MetricAlarm
from headrace.core.checks import check_positive
from headrace.core.errors import DataError, HeadraceError, UsageError
from headrace.core.ledger.pump import PlatformRuns
from headrace.core.retry import backoff_seconds
from headrace.pipelines.dynamic.arrivals import request
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

_log = logging.getLogger("headrace.triggers")

_REASON = "alarm"
_PER_TURN = 500
_POLL_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
Place = tuple[str, int]


@dataclass(frozen=True)
class AlarmTopicConfig:
    """Options of a trigger by alarms.

    Args:
        bootstrap: brokers, as HOST:PORT[,HOST:PORT...].
        topic: topic of alarm events.
        app: name of the application; alarms of others are ignored.
        group: name of the consumer group.
        tick_s: time between two ticks while a run is under way or requests wait, in seconds, above 0.
        properties: properties of librdkafka.

    Raises:
        UsageError: a value is not valid.
    """

    bootstrap: str
    topic: str
    app: str
    group: str
    tick_s: float = 60.0
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bootstrap", "app", "group"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="trigger alarm-topic", expected="a text that is not empty")
        check_topic(self.topic, "trigger alarm-topic")
        check_positive(self.tick_s, "the interval of ticks", where="--tick")
        check_properties(self.properties)

    @property
    def topics(self) -> Sequence[str]:
        """The topic, as the only one."""
        return [self.topic]


class AlarmTrigger:
    """The loop of the trigger. Not thread-safe.

    Args:
        config: options of the trigger.
        settings: returns the current settings of the dynamic training.
        consumer: consumer of the group, without automatic commits.
        report: receives each event, as a sentence.
        stop: set by a termination signal.
        runs: runs of the platform; None for those of the settings.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        config: AlarmTopicConfig,
        settings: Callable[[], DynamicSettings],
        consumer: Consumer,
        report: Callable[[str], None],
        stop: threading.Event,
        *,
        runs: PlatformRuns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._settings = settings
        self._consumer = consumer
        self._report = report
        self._stop = stop
        self._runs = runs
        self._clock = clock
        # Alarms for which no training was requested yet, and the offsets after the last read message, by partition.
        self._waiting: dict[Place, list[MetricAlarm]] = {}
        self._offsets: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._due = float("-inf")
        self._failures = 0
        self._said = ""

    def run(self) -> None:
        """Requests trainings until `stop` is set.

        Raises:
            UsageError: the topic cannot be read.
        """
        self._consumer.subscribe([self._config.topic], on_revoke=self._revoke)
        while not self._stop.is_set():
            self.turn()

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()

    def turn(self) -> None:
        """One turn of the loop: reads available messages, unless alarms wait, and does what is due."""
        new = False
        for message in self._consumer.consume(_PER_TURN, timeout=_POLL_S):
            new |= self._take(message)
        if self._waiting:
            self._pause()
        elif self._offsets:
            self._commit()
        if (new and not self._failures) or self._clock() >= self._due:
            self._attempt()

    def _take(self, message: Message) -> bool:
        """Adds an alarm to those that wait; returns whether the message is an alarm of the application."""
        error = message.error()
        if error is not None:
            if clients.is_users(error) or error.fatal():
                raise clients.error_of(error, "alarms cannot be read", self._config.topic)
            _log.warning("%s: %s", self._config.topic, error.str())
            return False
        place = str(message.topic()), int(message.partition() or 0)
        self._offsets[place] = int(message.offset() or 0) + 1
        where = f"topic {place[0]}, partition {place[1]}, offset {message.offset()}"
        try:
            alarm = MetricAlarm.decode(message.value() or b"", where)
        except DataError as error_of_message:
            _log.error("%s", error_of_message.paragraph)
            return False
        if alarm is None or alarm.app != self._config.app:
            return False
        self._waiting.setdefault(place, []).append(alarm)
        return True

    def _attempt(self) -> None:
        """Does what is due. An error is reported and retried with backoff, and no offset is committed before that."""
        try:
            done = self._handle()
        except (HeadraceError, OSError) as error:
            self._failures += 1
            wait = backoff_seconds(self._failures, lambda: 1.0, first_s=_FIRST_WAIT_S, max_s=_LONGEST_WAIT_S)
            self._due = self._clock() + wait
            self._say(str(error))
            return
        self._failures = 0
        self._due = self._clock() + self._config.tick_s
        if done and self._offsets:
            self._commit()

    def _handle(self) -> bool:
        """Requests trainings for the waiting alarms, and pumps; returns whether no alarm waits afterwards."""
        settings = self._settings()
        alarms = {alarm.alarm.id: alarm for some in self._waiting.values() for alarm in some}
        if settings.ledger.state().run is not None:
            pumped = tick(settings, datetime.now(UTC), runs=self._runs)
            self._say(pumped.why)
            if pumped.run is not None and alarms:
                return False
        if alarms and self._request(settings, list(alarms.values())):
            try:
                self._say(tick(settings, datetime.now(UTC), runs=self._runs).why)
            except UsageError as error:
                # The requests are in the inbox, and the platform's rejection counts as a failed attempt of the run.
                self._say(error.paragraph)
        elif self._requested(settings):
            self._say(tick(settings, datetime.now(UTC), runs=self._runs).why)
        return True

    def _request(self, settings: DynamicSettings, alarms: Sequence[MetricAlarm]) -> bool:
        """Requests a training for each alarm about the champion; returns whether it requested one."""
        champion = open_registry(settings.registry, new=True).aliases().get(CHAMPION, "")
        requested = False
        for alarm in alarms:
            about = f"alarm {alarm.alarm.id} of version {alarm.version or 'unknown'}, {alarm.alarm.text}"
            if alarm.version and champion and alarm.version != champion:
                self._report(f"{about}: version {champion} has replaced it")
                continue
            request(settings, reason=_REASON, event=alarm.alarm.id, now=datetime.now(UTC))
            self._report(f"{about}: a training is requested")
            requested = True
        return requested

    @staticmethod
    def _requested(settings: DynamicSettings) -> bool:
        """Whether a request by an alarm waits, such as after a failed run."""
        inbox, done = settings.ledger.inbox, settings.ledger.state().done
        waiting = [version for version in inbox.versions() if version not in done]
        return any(arrival.reason == _REASON for arrival in inbox.read(waiting))

    def _commit(self) -> None:
        """Commits the offsets, and resumes reading. After a failed commit, alarms are only read again."""
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
            self._consumer.resume([TopicPartition(*place) for place in self._paused])
        except KafkaException as error:
            _log.warning("offsets are not committed: %s", error)
        self._waiting, self._offsets, self._paused = {}, {}, set()

    def _pause(self) -> None:
        """Pauses all partitions, which stays in the group without reading, until the waiting alarms are done."""
        places = {(tp.topic, tp.partition) for tp in self._consumer.assignment()} - self._paused
        if places:
            self._consumer.pause([TopicPartition(*place) for place in places])
            self._paused |= places

    def _revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        places = {(tp.topic, tp.partition) for tp in partitions}
        # The client remembers a pause after the revocation, so a partition that is assigned again would not be read.
        self._consumer.resume([TopicPartition(*place) for place in self._paused & places])
        self._paused -= places
        for kept in (self._waiting, self._offsets):
            for place in places & kept.keys():
                del kept[place]

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._report(text)


def trigger_by_alarm_topic(
    config: AlarmTopicConfig,
    settings: Callable[[], DynamicSettings],
    report: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Requests trainings until `stop` is set. Arguments as of `AlarmTrigger`.

    Raises:
        UsageError: the topic does not exist, or access is denied.
        PlatformError: no broker responds at the start.
    """
    consumer = clients.group_consumer(config, config.group)
    trigger = AlarmTrigger(config, settings, consumer, report, stop)
    try:
        clients.check_topics(consumer, config)
        report(f"{config.topic}: alarms of {config.app} request trainings")
        trigger.run()
    finally:
        trigger.close()
