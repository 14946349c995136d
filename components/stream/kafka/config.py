"""Kafka options of a scorer: topics, group, batches, and the handling of records without a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.records.codec import FORMATS, Format
from headrace.components.stream.without_model import WithoutModel, check_without_model
from headrace.core.checks import check_count, check_positive, check_word
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode, check_mode

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
_ROUTE = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,127})=([a-zA-Z0-9._-]+):([a-zA-Z0-9._-]+)\Z")
# Properties that the loops set, for at-least-once delivery and events at the ends of partitions.
_OWN = frozenset(
    {"bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof"}
)


@dataclass(frozen=True)
class Route:
    """Topics of an application.

    Args:
        app: name of the application in model events.
        records: topic of records to score.
        predictions: topic of their predictions.
    """

    app: str
    records: str
    predictions: str

    @staticmethod
    def parse(text: str) -> Route:
        """Reads APP=RECORDS:PREDICTIONS.

        Raises:
            UsageError: the text does not have this form.
        """
        found = _ROUTE.match(text)
        if not found:
            raise UsageError(
                "the route is not valid",
                where="--route",
                expected="APP=RECORDS_TOPIC:PREDICTIONS_TOPIC",
                received=repr(text),
            )
        return Route(*found.groups())


@dataclass(frozen=True)
class KafkaConfig:
    """Options of a scorer.

    Args:
        bootstrap: brokers, as HOST:PORT[,HOST:PORT...].
        group: name of the consumer group.
        routes: topics of each application, one or more.
        dead_letters: topic of records without a prediction.
        model_topic: topic of model events; "" with an endpoint.
        endpoint: endpoint that scores the records of the only route; None scores with models in this process.
        alarms: topic of alarm events; "" only logs alarms.
        format: format of record values.
        rules: "enforce" refuses rows that break the Model's rules; "warn" predicts and counts those whose values are
            out of bounds or unknown.
        without_model: "skip" sends records that arrive while there is no model to the dead-letter topic; "hold" pauses
            their partitions.
        model_roots: folders that Models may be in; if empty, any folder.
        batch_records: maximum records per batch, 1 to 50,000.
        batch_bytes: approximate maximum bytes of records in memory, 64 KiB to 64 MiB.
        poll_s: maximum wait for a record, in seconds. It is also the maximum delay of a model event without records.
        drain_s: maximum time to finish the batch after a termination signal, in seconds.
        properties: properties of librdkafka, such as security.protocol.

    Raises:
        UsageError: a value is not valid.
    """

    bootstrap: str
    group: str
    routes: Sequence[Route]
    dead_letters: str
    model_topic: str = ""
    endpoint: EndpointOptions | None = None
    alarms: str = ""
    format: Format = "json"
    rules: Mode = "enforce"
    without_model: WithoutModel = "skip"
    model_roots: Sequence[str] = ()
    batch_records: int = 1000
    batch_bytes: int = 16 << 20
    poll_s: float = 0.1
    drain_s: float = 30.0
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bootstrap", "group"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="stream kafka", expected="a non-empty text")
        if not self.routes:
            raise UsageError("the route is missing", where="stream kafka", expected="APP=RECORDS:PREDICTIONS")
        for names, what in (([r.app for r in self.routes], "application"), ([r.records for r in self.routes], "topic")):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UsageError(f"two routes have one {what}", where="--route", received=", ".join(twice))
        if not self.dead_letters:
            raise UsageError("dead_letters is empty", where="stream kafka", expected="a topic")
        for topic in self.topics:
            check_topic(topic, "stream kafka")
        # Routes may share a topic of predictions.
        uses = [*(route.records for route in self.routes), *{route.predictions for route in self.routes}]
        uses += self._others
        twice = sorted({topic for topic in uses if uses.count(topic) > 1})
        if twice:
            raise UsageError(
                "a topic is used twice", where="stream kafka", received=", ".join(twice),
                expected="other topics to write than to read, and one each for events, dead letters and alarms",
            )  # fmt: skip
        self._check_scoring()
        check_word(self.format, "format", FORMATS, where="--format")
        check_mode(self.rules)
        check_without_model(self.without_model)
        check_count(self.batch_records, "batch_records", maximum=50_000, where="--batch-records")
        check_count(self.batch_bytes, "batch_bytes", minimum=1 << 16, maximum=64 << 20, where="--batch-bytes")
        check_positive(self.poll_s, "poll_s")
        check_positive(self.drain_s, "drain_s", where="--drain")
        check_properties(self.properties)

    @property
    def topics(self) -> list[str]:
        """All topics, each once, sorted."""
        return sorted(
            {*self._others, *(topic for route in self.routes for topic in (route.records, route.predictions))}
        )

    @property
    def _others(self) -> list[str]:
        """The topics that routes share."""
        return [topic for topic in (self.model_topic, self.dead_letters, self.alarms) if topic]

    def _check_scoring(self) -> None:
        if bool(self.model_topic) == (self.endpoint is not None):
            raise UsageError(
                "the model is named twice" if self.model_topic else "the model is not named",
                where="stream kafka",
                expected="--model-topic TOPIC, or --endpoint-url URL",
            )
        if self.endpoint is None:
            return
        if len(self.routes) > 1:
            raise UsageError(
                "an endpoint has the model of one application", where="--route", expected="one route",
                received=", ".join(route.app for route in self.routes), fix="Start a group for each application",
            )  # fmt: skip
        if self.format != "json":
            raise UsageError(
                "records are sent to an endpoint as they are", where="--format", expected="json", received=self.format
            )


def check_topic(topic: str, where: str) -> None:
    """Checks the name of a topic.

    Raises:
        UsageError: the name is not valid.
    """
    if not _TOPIC.match(topic):
        raise UsageError(
            "the name of the topic is not valid",
            where=where,
            expected="1 to 249 letters, digits, ., - and _",
            received=repr(topic),
        )


def check_properties(properties: Mapping[str, str]) -> None:
    """Checks that properties of librdkafka do not override those that a loop sets itself.

    Raises:
        UsageError: a property is one of these.
    """
    own = sorted(_OWN & set(properties))
    if own:
        raise UsageError(
            "the property cannot be set", where="--property", received=", ".join(own),
            expected="a property that the command does not set itself",
        )  # fmt: skip


def properties_from(texts: Sequence[str]) -> dict[str, str]:
    """Parses properties of librdkafka: NAME=VALUE.

    Raises:
        UsageError: an argument does not have this form, or a property is repeated.
    """
    named: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or name in named:
            raise UsageError(
                "the option is not valid",
                where="--property",
                expected="NAME=VALUE, one per property",
                received=name or repr(""),
            )
        named[name] = value
    return named


def read_properties(path: str) -> dict[str, str]:
    """Reads a file of properties, NAME=VALUE per line; empty lines and those that begin with # are ignored.

    Raises:
        UsageError: the file cannot be read, a line does not have this form, or a property is repeated.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the file cannot be read", where=path, received=str(error)) from error
    return properties_from([line.strip() for line in lines if line.strip() and not line.strip().startswith("#")])
