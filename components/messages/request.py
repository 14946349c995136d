"""Requests of training: when enough rows, time or drift has come since the last one.

Spans that no training was requested for are in pending.json, which is changed by compare-and-set. They are added to the
ledger's inbox first, then training is started, and only then they are taken off the file: whoever is killed in between
makes the same request again, which the ledger knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from headrace.core.checks import check_count, check_positive
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json

_FORMAT = 1


@dataclass(frozen=True)
class RequestRule:
    """When training is requested: as soon as one of these holds.

    Args:
        rows: rows of the pending spans, 1 or more; None for no such rule.
        seconds: age of the oldest pending span, in seconds, above 0; None for no such rule.
        drift: whether a span that has drifted requests it at once.

    Raises:
        UsageError: a value is outside its range, or there is no rule.
    """

    rows: int | None = 10_000
    seconds: float | None = None
    drift: bool = False

    def __post_init__(self) -> None:
        if self.rows is not None:
            check_count(self.rows, "training_rows", where="messages")
        if self.seconds is not None:
            check_positive(self.seconds, "training_seconds", where="messages")
        if self.rows is None and self.seconds is None and not self.drift:
            raise UsageError(
                "training would never be requested", where="messages", expected="a number of rows, a time or drift"
            )


@dataclass(frozen=True)
class PendingSpan:
    """A span that training was not requested for yet.

    Attributes:
        span: its name.
        data: URI of its file.
        rows: of it.
        at: when it was added, in UTC.
        drift: the first alarm of drift, in words; "" if there is none.
    """

    span: str
    data: str
    rows: int
    at: datetime
    drift: str = ""


class SpanTraining(Protocol):
    """The dynamic training that spans are for; it is sent to workers."""

    def arrive(self, span: str, data: str, reason: str, now: datetime) -> None:
        """Adds a span to the ledger's inbox; one that is there already stays."""

    def pump(self, now: datetime) -> str:
        """Starts the run that is due, and returns in words what it did."""


@dataclass(frozen=True)
class RequestResult:
    """What became of the pending spans.

    Attributes:
        reason: rows, time or drift; "" where training is not requested yet.
        spans: that it was requested for.
        did: what the training did, in words.
        next: when a request becomes due if nothing else comes; None where time is no rule, or nothing is pending.
    """

    reason: str
    spans: tuple[str, ...]
    did: str
    next: datetime | None


def add_pending(uri: str, span: PendingSpan) -> None:
    """Adds a span. One that is pending already stays.

    Raises:
        UsageError: the file cannot be written.
        DataError: it is damaged.
        PlatformError: the disk or the service failed; adding again is safe.
    """
    entry = {"data": span.data, "rows": span.rows, "at": span.at.astimezone(UTC).isoformat(), "drift": span.drift}
    _change(uri, lambda spans: {span.span: entry, **spans})


def pending(uri: str) -> list[PendingSpan]:
    """The pending spans, by name; errors as of `add_pending`."""
    found = read_with_token(uri)
    spans = _spans(None if found is None else json_of(found.content, uri), uri)
    try:
        return [
            PendingSpan(name, one["data"], int(one["rows"]), datetime.fromisoformat(one["at"]), one["drift"])
            for name, one in sorted(spans.items())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(uri, error) from error


def reason_of(rule: RequestRule, spans: list[PendingSpan], now: datetime) -> str:
    """Why training is due for some spans: "drift", "rows" or "time"; "" where it is not."""
    if not spans:
        return ""
    if rule.drift and any(span.drift for span in spans):
        return "drift"
    if rule.rows is not None and sum(span.rows for span in spans) >= rule.rows:
        return "rows"
    due = _due(rule, spans)
    return "time" if due is not None and now >= due else ""


def request_training(uri: str, rule: RequestRule, training: SpanTraining, now: datetime) -> RequestResult:
    """Requests training for the pending spans, if it is due.

    Args:
        uri: of the pending spans.
        rule: when it is due.
        training: that they are for.
        now: the time, with its zone.

    Raises:
        HeadraceError: those of `training`; the spans stay pending, and calling again is safe.
    """
    spans = pending(uri)
    reason = reason_of(rule, spans, now)
    if not reason:
        return RequestResult("", (), "", _due(rule, spans))
    for span in spans:
        training.arrive(span.span, span.data, f"messages, {reason}", now)
    did = training.pump(now)
    names = tuple(span.span for span in spans)
    _change(uri, lambda left: {name: entry for name, entry in left.items() if name not in names})
    return RequestResult(reason, names, did, None)


def _due(rule: RequestRule, spans: list[PendingSpan]) -> datetime | None:
    if rule.seconds is None or not spans:
        return None
    return min(span.at for span in spans) + timedelta(seconds=rule.seconds)


def _change(uri: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    update_json(
        uri,
        lambda content: {
            "kind": "PendingSpans",
            "format": _FORMAT,
            "spans": dict(sorted(change(_spans(content, uri)).items())),
        },
    )


def _spans(content: Any, uri: str) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        if (content["kind"], content["format"]) != ("PendingSpans", _FORMAT):
            raise ValueError(f"not pending spans of format {_FORMAT}")
        spans: Mapping[str, Any] = content["spans"]
        return dict(spans)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(uri, error) from error


def _damaged(uri: str, error: Exception) -> DataError:
    return DataError(
        "the file of pending spans is damaged",
        where=uri,
        expected=f"pending spans of format {_FORMAT}",
        received=f"{type(error).__name__}: {error}",
        fix="Remove it: spans that it held are announced by hand with `headrace dynamic`",
    )
