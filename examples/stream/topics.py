"""Topics of the streaming example: their names, and a reader that keeps what it has read."""

from __future__ import annotations

import json
import time
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

ALARMS = "alarms"
TOPICS = {"flights": 4, "predictions": 2, "air-times": 2, "models": 1, "dead-letters": 1, "metrics": 1, ALARMS: 1}


def send(bootstrap: str, topic: str, value: bytes) -> None:
    """Sends a message, and waits until it is delivered."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    producer.produce(topic, value)
    if producer.flush(30):
        raise SystemExit(f"the message to {topic} was not delivered")


class Reader:
    """Reads whole topics from their beginning.

    Attributes:
        predictions: time in seconds since the epoch and version of each.
    """

    def __init__(self, bootstrap: str, topics: list[str]) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "page", "enable.auto.commit": False, "log_level": 0}
        )
        known = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [TopicPartition(topic, p, OFFSET_BEGINNING) for topic in topics for p in known[topic].partitions]
        )
        self._values: dict[str, list[dict[str, Any]]] = {topic: [] for topic in topics}
        self.predictions: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, seconds: float) -> None:
        """Reads what arrives in this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for message in self._consumer.consume(2000, timeout=min(left, 0.1)):
                if message.error() is not None:
                    continue
                value = json.loads(message.value() or b"{}")
                if message.topic() == "predictions":
                    self.predictions.append((message.timestamp()[1] / 1000, value["model_version"]))
                else:
                    self._values[str(message.topic())].append(value)

    def values(self, topic: str) -> list[dict[str, Any]]:
        """The events of a topic."""
        return self._values[topic]

    def versions(self) -> set[str]:
        """The versions that have predicted."""
        return {version for _, version in self.predictions}

    def windows(self, version: str) -> int:
        """The number of measured windows of a version, with labels."""
        return sum(1 for one in self._values["metrics"] if one["rows"] and one["version"] == version)
