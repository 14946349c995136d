"""Beam stages of the messages trigger: messages to spans, loads, dead letters and requests of training."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import as_parquet, write_dead_letters
from headrace.components.messages.decode import Message, Row
from headrace.components.messages.drift import SpanDrift
from headrace.components.messages.load import load_dead_letters, load_span
from headrace.components.messages.request import PendingSpan, RequestRule, SpanTraining, add_pending, request_training
from headrace.components.messages.spans import write_span
from headrace.core.errors import HeadraceError

# Namespace of the job's Beam counters: messages, rows, spans, loads, requests, failed_requests, and dead letters by
# reason: malformed, late, duplicate.
METRICS = "headrace.messages"
# The output tag of dead letters.
DEAD = "dead"
_RETRY_SECONDS = 60
_log = logging.getLogger("headrace.messages")


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Decode(beam.DoFn):
    """PubsubMessage -> encoded row; dead letters have the output tag DEAD."""

    def __init__(self, config: MessagesConfig) -> None:
        self._decoder = config.decoder

    def process(self, message: Any) -> Iterator[Any]:
        """Decodes a message."""
        _count("messages")
        published = message.publish_time or now()
        attributes = dict(message.attributes or {})
        found = self._decoder.decode(Message(message.data or b"", attributes, message.message_id or "", published))
        if isinstance(found, Row):
            yield found.encode()
        else:
            yield _dead(found)


class RepeatedToDeadLetter(beam.DoFn):
    """Repeated row -> its dead letter."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def process(self, row: bytes) -> Iterator[bytes]:
        """Converts a row to a dead letter with the reason."""
        reason = f"a message of this id came within {self._seconds:,} s"
        yield json.dumps({**Row.decode(row).message, "reason": "duplicate", "message": reason}).encode()


class WriteSpan(beam.DoFn):
    """(span, rows) -> (span, number of rows), after its file is written; dead letters have the output tag DEAD."""

    def __init__(self, config: MessagesConfig) -> None:
        self._config = config

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[Any]:
        """Writes the file, unless it exists."""
        span, rows = element
        written = write_span(self._config, span, map(Row.decode, rows))
        if written.created:
            _count("spans")
            _count("rows", written.rows)
            _log.info("span %s: %s rows", span, f"{written.rows:,}")
        for letter in written.dead:
            yield _dead(letter)
        # Also if the file existed: the worker that wrote it may have failed before the next stage.
        yield span, written.rows


class LoadSpan(beam.DoFn):
    """(span, number of rows) -> the same, after the span is loaded into the table."""

    def __init__(self, config: MessagesConfig) -> None:
        self._config = config

    def process(self, element: tuple[str, int]) -> Iterator[tuple[str, int]]:
        """Loads the file, unless it is already loaded."""
        if self._config.table and load_span(self._config, element[0]):
            _count("loads")
        yield element


class WriteDeadLetters(beam.DoFn):
    """(window of publication, dead letters) -> a file, and rows of the table if there is one."""

    def __init__(self, config: MessagesConfig) -> None:
        self._config = config

    def process(self, element: tuple[str, Iterable[bytes]]) -> None:
        """Writes and loads them."""
        window, letters = element
        plain = [json.loads(letter) for letter in letters]
        uri, content = write_dead_letters(self._config, window, plain)
        if self._config.dead_letter_table:
            load_dead_letters(self._config, uri, as_parquet(content))
        reasons = [letter["reason"] for letter in plain]
        for reason in sorted(set(reasons)):
            _count(reason, reasons.count(reason))
        by_reason = ", ".join(f"{reasons.count(reason):,} {reason}" for reason in sorted(set(reasons)))
        _log.warning("%s dead letters (%s): %s", f"{len(plain):,}", by_reason, uri)


class RequestTraining(beam.DoFn):
    """(any key, (span, number of rows)) -> requests of training, when they are due.

    If the training's ledger or platform fails, spans are still written, and the request is retried after 60 s.
    """

    LATER = TimerSpec("later", TimeDomain.REAL_TIME)

    def __init__(
        self, config: MessagesConfig, rule: RequestRule, training: SpanTraining, drift: SpanDrift | None
    ) -> None:
        self._config = config
        self._rule = rule
        self._training = training
        self._drift = drift

    def process(self, element: tuple[str, tuple[str, int]], later: Any = beam.DoFn.TimerParam(LATER)) -> None:
        """Adds a span to the pending ones, and requests training if it is due."""
        span, rows = element[1]
        uri = self._config.span_uri(span)
        drifted = "" if self._drift is None else self._drift.of(uri)
        add_pending(self._config.pending, PendingSpan(span, uri, rows, now(), drifted))
        self._request(later)

    @on_timer(LATER)
    def is_later(self, later: Any = beam.DoFn.TimerParam(LATER)) -> None:
        """Requests training if it is due by now."""
        self._request(later)

    def _request(self, later: Any) -> None:
        try:
            requested = request_training(self._config.pending, self._rule, self._training, now())
        except HeadraceError as error:
            _count("failed_requests")
            _log.error("the training request failed, and is retried in %d s: %s", _RETRY_SECONDS, error.paragraph)
            later.set(Timestamp.now() + _RETRY_SECONDS)
            return
        if requested.next is not None:
            later.set(Timestamp(requested.next.timestamp()))
        if requested.reason:
            _count("requests")
            _log.info("training requested for %d spans (%s): %s", len(requested.spans), requested.reason, requested.did)


def _dead(letter: Mapping[str, Any]) -> Any:
    return beam.pvalue.TaggedOutput(DEAD, json.dumps(dict(letter)).encode())


def _count(name: str, number: int = 1) -> None:
    Metrics.counter(METRICS, name).inc(number)
