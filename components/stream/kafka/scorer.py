"""Kafka scorer: a member of a group that reads records, scores the available ones as one batch, delivers and commits.

Delivery is at least once: the offsets of a batch are committed after all its results are delivered. The commit overlaps
with the scoring of the next batch, whose results are delivered after the commit. If a member dies, at most one batch is
scored twice. Delivery is not exactly once.

Only the loop's thread uses the clients. Other threads load models and send requests to endpoints.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from confluent_kafka import Message

from headrace.components.stream.kafka import letters
from headrace.components.stream.kafka.config import KafkaConfig
from headrace.components.stream.kafka.outbox import Outbox, Outgoing
from headrace.components.stream.kafka.reader import Partition, RecordReader, place_of
from headrace.components.stream.kafka.scoring import Scoring
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.score import TOO_LARGE, Rejection
from headrace.core.errors import PlatformError

# After a wait of this length, the member polls the group, so that it is not removed from the group.
_PATIENCE_S = 2.0
_LAG_EVERY_S = 1.0
_SETTLING_S = 0.02

Result = tuple[Message, Outgoing]


class KafkaScorer:
    """The loop of a scorer. Not thread-safe; its thread also owns the clients.

    Args:
        config: options of the scorer.
        scoring: scores batches; not yet started.
        metrics: metrics of the scorer.
        reader: reads records; not yet subscribed.
        outbox: delivers results and alarms.
        member: name of this scorer in alarms.
        stop: set by a termination signal.
    """

    def __init__(
        self,
        config: KafkaConfig,
        scoring: Scoring,
        metrics: StreamMetrics,
        reader: RecordReader,
        outbox: Outbox,
        *,
        member: str,
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._scoring = scoring
        self._metrics = metrics
        self._reader = reader
        self._outbox = outbox
        self._member = member
        self._stop = stop
        self._routes = {route.records: route for route in config.routes}
        # Model of the last batch, by application.
        self._used: dict[str, UsedModel | None] = {}
        self._began = self._lag_at = 0.0
        self._give_up_at: float | None = None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Loads the models, and scores records until `stop` is set; then finishes the batch.

        Args:
            ready: called when the scorer begins to read records.

        Raises:
            UsageError: access is denied, or a topic does not exist.
            PlatformError: the model failed, or the last batch could not be delivered in time.
        """
        if not self._scoring.start(self._stop.is_set, self._metrics.turn):
            return
        while not self._scoring.settled and not self._stop.is_set():
            self._tend()
            time.sleep(_SETTLING_S)
        if self._stop.is_set():
            return
        self._reader.subscribe()
        self._metrics.taking = True
        ready()
        while not self._stop.is_set():
            self.turn()
        self._metrics.taking = False
        self._began = time.monotonic()
        self._settle()

    def turn(self) -> None:
        """One turn of the loop: processes model events, and one batch of available records."""
        self._tend()
        for topic, held in self._reader.buffered.items():
            app = self._routes[topic].app
            if self._scoring.has_model(app):
                for batch in self._reader.release(topic):
                    self._process(batch)
                held = 0
            self._metrics.gauge("held_records", held, app=app)
        messages = self._reader.take(self._config.poll_s)
        if messages:
            self._process(messages)
        else:
            self._began = time.monotonic()
            self._settle()
        self._measure_lag()

    def close(self) -> None:
        """Leaves the group, and waits for the delivery of alarms."""
        self._reader.close()
        self._scoring.close()
        self._outbox.close(self._config.drain_s)

    def _tend(self) -> None:
        self._metrics.turn()
        for outcome in self._scoring.turn():
            self._metrics.model(outcome)
            if outcome.alarming and self._config.alarms:
                alarm = outcome.alarm(member=self._member, at=datetime.now(UTC).isoformat(timespec="milliseconds"))
                self._outbox.send(Outgoing(self._config.alarms, outcome.app.encode() or None, alarm))

    def _process(self, messages: Sequence[Message]) -> None:
        """Scores, delivers and commits a batch."""
        self._began = time.monotonic()
        batches: dict[str, list[Message]] = {}
        for message in messages:
            batches.setdefault(str(message.topic()), []).append(message)
        results: list[Result] = []
        offsets: dict[Partition, int] = {}
        scored: list[Message] = []
        for topic, batch in batches.items():
            if self._config.without_model == "hold" and not self._scoring.has_model(self._routes[topic].app):
                self._reader.hold(topic, batch)
                continue
            results += self._results(topic, batch)
            scored += batch
            # Messages of a partition are in order.
            offsets |= {place_of(message): int(message.offset() or 0) + 1 for message in batch}
        if not offsets:
            return
        # Before the delivery, so that a killed member leaves at most one batch with delivered results and no commit.
        self._settle()
        gone = set(self._reader.revoked)
        self._deliver([result for result in results if place_of(result[0]) not in gone])
        created = [message.timestamp()[1] for message in scored if place_of(message) not in gone]
        self._metrics.latencies(created, time.time())
        self._reader.commit({place: offset for place, offset in offsets.items() if place not in gone})
        self._reader.resume()

    def _settle(self) -> None:
        """Waits until the offsets of the last batch are committed."""
        self._reader.settle(self._wait, lambda: self._metrics.count("retries_total", what="commit"))

    def _results(self, topic: str, batch: Sequence[Message]) -> list[Result]:
        """The messages to deliver for records of one application, each with its record."""
        route, metrics = self._routes[topic], self._metrics
        app = route.app
        oldest = min(message.timestamp()[1] for message in batch)
        metrics.gauge("lag_seconds", max(0.0, time.time() - oldest / 1000), app=app)
        used, scored = self._scoring.score(app, [message.value() for message in batch], self._wait)
        self._used[app] = used
        found: list[Result] = []
        predicted = 0
        for message, one in zip(batch, scored, strict=True):
            if one.prediction is not None:
                predicted += 1
                found.append((message, letters.prediction(route.predictions, message, one.prediction)))
            if one.rejected is not None:
                metrics.count("records_total", app=app, result=one.rejected.reason)
                letter = letters.dead_letter(self._config.dead_letters, message, one.rejected, app, used)
                found.append((message, letter))
        if predicted:
            metrics.count("records_total", predicted, app=app, result="predicted")
        return found

    def _deliver(self, results: Sequence[Result]) -> None:
        large = self._outbox.deliver([outgoing for _, outgoing in results], self._wait)
        left = [results[index] for index in large]
        for message, _ in left:
            self._metrics.count("records_total", app=self._routes[str(message.topic())].app, result=TOO_LARGE)
        # First without the record's value; then without its key and headers, which may be too large as well.
        for keyed in (True, False):
            if left:
                left = [(message, self._without_value(message, outgoing.topic, keyed)) for message, outgoing in left]
                large = self._outbox.deliver([letter for _, letter in left], self._wait)
                left = [left[index] for index in large]
        if left:
            raise PlatformError(
                "a dead letter without its record exceeds the maximum message size", where=self._config.dead_letters
            )

    def _without_value(self, message: Message, refused: str, keyed: bool) -> Outgoing:
        app = self._routes[str(message.topic())].app
        why = Rejection(TOO_LARGE, f"the message to {refused} exceeds the maximum message size")
        used = self._used.get(app)
        return letters.dead_letter(self._config.dead_letters, message, why, app, used, whole=False, keyed=keyed)

    def _wait(self) -> None:
        """Called while a batch waits for another process: stays in the group, and gives up after `drain_s`."""
        now = time.monotonic()
        self._metrics.turn()
        if self._stop.is_set():
            self._give_up_at = self._give_up_at or now + self._config.drain_s
            if now > self._give_up_at:
                raise PlatformError(
                    "the last batch was not scored and delivered in time",
                    where=self._config.bootstrap,
                    expected=f"its results delivered within {self._config.drain_s:g} s after the termination signal",
                    fix="Nothing is lost: its records were not committed, and are read again",
                )
        if now - self._began > _PATIENCE_S:
            self._reader.stay()

    def _measure_lag(self) -> None:
        """Updates the lag metrics, at most once per second."""
        now = time.monotonic()
        if now - self._lag_at < _LAG_EVERY_S:
            return
        self._lag_at = now
        self._metrics.clear("lag_records")
        waiting = self._reader.waiting()
        for (topic, partition), records in waiting.items():
            if records is not None:
                self._metrics.gauge("lag_records", records, topic=topic, partition=str(partition))
        for topic, route in self._routes.items():
            found = [records for (of, _), records in waiting.items() if of == topic]
            known = [records for records in found if records is not None]
            # A partition without a record since its assignment is ignored: it is empty, or a record follows soon.
            if not found or (known and not any(known)):
                self._metrics.gauge("lag_seconds", 0.0, app=route.app)
