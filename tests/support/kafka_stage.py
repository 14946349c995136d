"""Stage of a Kafka scorer: topics of one test on a broker, and members of a group in threads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peers.kafka import Broker
from support.stream_models import APP

from headrace.components.stream.kafka import clients
from headrace.components.stream.kafka.by_endpoint import ByEndpoint
from headrace.components.stream.kafka.config import KafkaConfig, Route
from headrace.components.stream.kafka.in_process import InProcessScoring
from headrace.components.stream.kafka.model_topic import ModelTopic
from headrace.components.stream.kafka.outbox import Outbox
from headrace.components.stream.kafka.reader import RecordReader
from headrace.components.stream.kafka.scorer import KafkaScorer
from headrace.components.stream.kafka.scoring import Scoring
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.fold import StreamModels as Folded
from headrace.components.stream.models.load import Load, load_model
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.codec import codec_of
from headrace.core.errors import HeadraceError
from headrace.core.model_events.event import ModelEvent


def encoded(row: Any) -> bytes:
    return json.dumps(row).encode()


# A group takes a member for dead that is silent for so long: more than a busy machine holds one up, as its records are
# then scored twice. This broker lets new members wait for it, too.
SESSION_MS = 8000


class Reader(RecordReader):
    """A reader that counts its turns, and how often partitions were taken away."""

    turns = revocations = 0

    def take(self, wait_s: float) -> list[Any]:
        self.turns += 1
        return super().take(wait_s)

    def _revoke(self, *arguments: Any) -> None:
        self.revocations += 1
        super()._revoke(*arguments)


class Member:
    """A scorer in a thread of the test.

    Attributes:
        scorer: whose loop runs.
        folded: its models.
        metrics: of the scorer.
        error: that its loop ended with.
    """

    def __init__(self, config: KafkaConfig, load: Load, name: str) -> None:
        self.stop = threading.Event()
        self.ready = threading.Event()
        self.error: HeadraceError | None = None
        self.folded = Folded([route.app for route in config.routes], load)
        self._seconds = 0.0
        self.metrics = StreamMetrics(lambda: self.scoring.in_use, lambda: self._seconds)
        self.scoring = self._scoring(config)
        self.reader = Reader(
            lambda on_commit: clients.record_consumer(config, on_commit),
            [route.records for route in config.routes],
            config.batch_records,
        )
        self.outbox = Outbox(
            lambda: clients.producer(config), lambda by: self.metrics.count("retries_total", by, what="delivery")
        )
        self.scorer = KafkaScorer(
            config,
            self.scoring,
            self.metrics,
            self.reader,
            self.outbox,
            member=name,
            stop=self.stop,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _scoring(self, config: KafkaConfig) -> Scoring:
        if config.endpoint is not None:
            return ByEndpoint(config.routes[0].app, HttpScorer(config.endpoint), self.metrics)
        topic = ModelTopic(clients.whole_consumer(config, "models"), config.model_topic, self.folded.read)
        return InProcessScoring(codec_of(config.format), self.folded, topic, self.metrics)

    def _run(self) -> None:
        try:
            self.scorer.run(self.ready.set)
        except HeadraceError as error:
            self.error = error
        finally:
            self.scorer.close()
            self.ready.set()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(600)
        assert not self.thread.is_alive()

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 600
        while not true():
            assert time.monotonic() < end, what
            assert self.error is None, self.error
            time.sleep(0.02)

    def longest_idle(self, seconds: float) -> float:
        """The longest time without a turn of the loop during so many seconds, none of which pass while a test does not
        run."""
        longest = 0.0
        for _ in range(round(10 * seconds)):
            time.sleep(0.1)
            self._seconds += 0.1
            longest = max(longest, self.metrics.idle_s)
        return longest

    def uses(self, version: str, app: str = APP) -> None:
        def same() -> bool:
            loaded = self.folded[app].model
            return loaded is not None and loaded.event.version == version

        self.until(same, f"{version} is not used")


class Stage:
    """Topics of one test, and the members that run on them.

    Args:
        broker: of the topics.
        name: of the group; topics begin with it.
        partitions: of each topic but that of model events.
    """

    def __init__(self, broker: Broker, name: str, partitions: int = 2) -> None:
        self.broker = broker
        self.name = name
        self.topics = {n: f"{name}-{n}" for n in ("records", "predictions", "models", "dead", "alarms")}
        broker.topics(**{topic: 1 if n == "models" else partitions for n, topic in self.topics.items()})
        self.members: list[Member] = []

    def config(self, **options: Any) -> KafkaConfig:
        topics = self.topics
        made: dict[str, Any] = {
            "bootstrap": self.broker.bootstrap,
            "group": self.name,
            "routes": [Route(APP, topics["records"], topics["predictions"])],
            "model_topic": topics["models"],
            "dead_letters": topics["dead"],
            "alarms": topics["alarms"],
            "poll_s": 0.02,
            "properties": {"session.timeout.ms": str(SESSION_MS), "heartbeat.interval.ms": "500"},
            **options,
        }
        return KafkaConfig(**made)

    def member(self, load: Load = load_model, **options: Any) -> Member:
        member = Member(self.config(**options), load, f"{self.name}-{len(self.members)}")
        self.members.append(member)
        assert member.ready.wait(600)
        return member

    def announce(self, *events: ModelEvent) -> None:
        self.broker.send(self.topics["models"], *(event.encode() for event in events))

    def send(self, *values: bytes | None, key: bytes | None = b"k") -> None:
        self.broker.send(self.topics["records"], *values, key=key)

    def read(self, topic: str, count: int) -> list[Any]:
        return self.broker.read(self.topics[topic], count)

    def predictions(self, count: int) -> list[dict[str, Any]]:
        return [json.loads(message.value()) for message in self.read("predictions", count)]

    def keys(self, count: int, topic: str = "") -> list[str]:
        """The keys of all predictions, of this stage's topic or another one, once there are so many different ones."""
        found: list[str] = []
        end = time.monotonic() + 600
        with self.broker.reading(topic or self.topics["predictions"]) as read:
            while len(set(found)) < count:
                assert time.monotonic() < end, f"{len(set(found))} of {count}"
                found += [json.loads(message.value())["key"] for message in read(0.2)]
        return found

    def everything(self, topic: str) -> list[Any]:
        """All that a topic has; complete once the members have ended."""
        with self.broker.reading(self.topics[topic]) as read:
            return read(600.0)

    def letters(self, count: int) -> list[dict[str, str]]:
        return [{n: v.decode() for n, v in message.headers()} for message in self.read("dead", count)]

    def alarms(self, count: int, *kinds: str) -> list[dict[str, Any]]:
        """All alarms, once there are so many, or so many of some kinds."""
        found: list[dict[str, Any]] = []
        end = time.monotonic() + 600
        with self.broker.reading(self.topics["alarms"]) as read:
            while sum(not kinds or alarm["alarm"] in kinds for alarm in found) < count:
                assert time.monotonic() < end, found
                found += [json.loads(message.value()) for message in read(0.2)]
        return found


@contextmanager
def stage_on(broker: Broker, name: str, partitions: int = 2) -> Iterator[Stage]:
    made = Stage(broker, name, partitions)
    try:
        yield made
    finally:
        for member in made.members:
            member.end()
