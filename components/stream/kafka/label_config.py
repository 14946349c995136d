"""Kafka options of the label join: topics, windows, and limits of time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.components.stream.kafka.config import check_properties, check_topic
from headrace.core.checks import check_count
from headrace.core.errors import UsageError


@dataclass(frozen=True)
class LabelConfig:
    """Options of the label join.

    Args:
        bootstrap: brokers, as HOST:PORT[,HOST:PORT...].
        app: name of the application.
        predictions: topic of predictions.
        labels: topic of labels: JSON objects with the label by its name, with the keys of the records.
        metrics: topic of metric events.
        alarms: topic of alarm events.
        window_s: length of a window, in seconds, 1 or more.
        wait_s: maximum time between a prediction and its label, in seconds, 1 or more.
        most: maximum predictions, and maximum labels, in memory, 2 or more; more are sampled by key.
        properties: properties of librdkafka.

    Raises:
        UsageError: a value is not valid.
    """

    bootstrap: str
    app: str
    predictions: str
    labels: str
    metrics: str
    alarms: str
    window_s: int
    wait_s: int
    most: int = 1_000_000
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bootstrap", "app", "predictions", "labels", "metrics", "alarms"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="stream labels", expected="a non-empty text")
        for topic in self.topics:
            check_topic(topic, "stream labels")
        read, written = {self.predictions, self.labels}, {self.metrics, self.alarms}
        if read & written or len(read) == 1:
            raise UsageError("a topic is used twice", where="stream labels", received=", ".join(self.topics))
        check_count(self.window_s, "window", where="--window")
        check_count(self.wait_s, "label_wait", where="--label-wait")
        check_properties(self.properties)
        check_count(self.most, "joined_rows", minimum=2, where="--joined-rows")

    @property
    def topics(self) -> list[str]:
        """All topics, each once, sorted."""
        return sorted({self.predictions, self.labels, self.metrics, self.alarms})
