"""Beam stages of the Pub/Sub scorer: records to predictions, dead letters and alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from headrace.components.stream.pubsub.config import PubSubConfig
from headrace.components.stream.pubsub.sources import BatchScorer, scorer_of
from headrace.components.stream.records.score import TOO_LARGE, RecordResult, Rejection

# Namespace of the job's Beam counters: records, predicted, duplicates, and reasons of rejection.
METRICS = "headrace.stream"
# The output tags of dead letters and alarms.
DEAD, ALARMS = "dead", "alarms"
PREFIX = "headrace-"
# Limits of Pub/Sub, which would reject a larger message at each attempt.
_ATTRIBUTES = 100
_ATTRIBUTE_BYTES = 1024
# Below the limit of 10 MB, because attributes, with names of at most 256 bytes, add up to 128 kB.
_DATA_BYTES = 9_850_000


class CountRepeated(beam.DoFn):
    """Repeated record -> nothing; it is counted."""

    def process(self, message: Any) -> None:
        """Counts the record."""
        _count("duplicates")


class Score(beam.DoFn):
    """PubsubMessage -> its prediction; dead letters and alarms have output tags. A bundle is one batch or several."""

    def __init__(self, config: PubSubConfig) -> None:
        self._config = config
        self._scorer: BatchScorer | None = None
        self._held: list[tuple[PubsubMessage, Any]] = []

    def setup(self) -> None:
        """Gets the scorer that the stages of this process share."""
        self._scorer = scorer_of(self._config.source)

    def start_bundle(self) -> None:
        """Checks for a newer model."""
        self._held = []
        self._used().look()

    def process(self, message: PubsubMessage, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        """Adds a record to the batch, and scores it when it is full."""
        self._held.append((message, timestamp))
        if len(self._held) >= self._config.batch_records:
            for value, _ in self._scored():
                yield value

    def finish_bundle(self) -> Iterator[Any]:
        """Scores the remaining records."""
        for value, at in self._scored():
            tag, plain = (value.tag, value.value) if isinstance(value, beam.pvalue.TaggedOutput) else (None, value)
            windowed = WindowedValue(plain, at, [GlobalWindow()])
            yield windowed if tag is None else beam.pvalue.TaggedOutput(tag, windowed)
        for alarm in self._used().alarms():
            windowed = WindowedValue(PubsubMessage(alarm, {}), Timestamp.now(), [GlobalWindow()])
            yield beam.pvalue.TaggedOutput(ALARMS, windowed)

    def _used(self) -> BatchScorer:
        # Not a property: Beam reads all attributes of a stage before it is set up.
        if self._scorer is None:
            raise RuntimeError("the stage was not set up")
        return self._scorer

    def _scored(self) -> Iterator[tuple[Any, Any]]:
        held, self._held = self._held, []
        if not held:
            return
        version, results = self._used().score([message.data or b"" for message, _ in held])
        _count("records", len(held))
        for (message, at), result in zip(held, map(_sendable, results), strict=True):
            if result.prediction is not None:
                _count("predicted")
                yield prediction_of(message, result.prediction), at
            if result.rejected is not None:
                _count(result.rejected.reason)
                letter = dead_letter(message, result.rejected, self._config.app, version)
                yield beam.pvalue.TaggedOutput(DEAD, letter), at


def identity_of(message: PubsubMessage, attribute: str) -> str:
    """The id of a record: the value of an attribute, or Pub/Sub's id."""
    return (message.attributes or {}).get(attribute) or message.message_id or ""


def prediction_of(message: PubsubMessage, value: bytes) -> PubsubMessage:
    """The prediction of a record, with the record's attributes and ordering key, and the id of its message."""
    return _message(message, value, {"message-id": message.message_id or ""})


def dead_letter(message: PubsubMessage, rejected: Rejection, app: str, version: str) -> PubsubMessage:
    """The dead letter of a record: the record, with the reason why it has no prediction in further attributes.

    Args:
        message: the record.
        rejected: the reason.
        app: name of the application.
        version: version of the model in use; "" if there was none.
    """
    facts = {
        "reason": rejected.reason,
        "message": rejected.message,
        "app": app,
        "message-id": message.message_id or "",
        **({"model-version": version} if version else {}),
    }
    data = message.data or b""
    if len(data) > _DATA_BYTES:
        # With further attributes, the message would exceed the limit.
        return _message(message, b"", {**facts, "value-bytes": str(len(data))})
    return _message(message, data, facts)


def _sendable(result: RecordResult) -> RecordResult:
    """The result; a rejection if the prediction exceeds the maximum message size."""
    if len(result.prediction or b"") <= _DATA_BYTES:
        return result
    return RecordResult(None, Rejection(TOO_LARGE, "the prediction exceeds the maximum message size"))


def _message(message: PubsubMessage, data: bytes, facts: Mapping[str, str]) -> PubsubMessage:
    added = {PREFIX + name: _cut(text) for name, text in facts.items()}
    # Without the attributes of an earlier rejection, if the record was a dead letter that is scored again.
    own = {name: text for name, text in (message.attributes or {}).items() if not name.startswith(PREFIX)}
    kept = dict(list(own.items())[: _ATTRIBUTES - len(added)])
    return PubsubMessage(data, {**kept, **added}, ordering_key=message.ordering_key or "")


def _cut(text: str) -> str:
    return text.encode("utf-8", "backslashreplace")[:_ATTRIBUTE_BYTES].decode("utf-8", "ignore")


def _count(name: str, number: int = 1) -> None:
    Metrics.counter(METRICS, name).inc(number)
