"""Training requests: made when the pending spans have enough rows, are old enough, or have drifted.

pending.json lists the spans for which training was not requested yet; it is changed by compare-and-set. A request adds
them to the ledger's inbox, then starts training, and only then removes them from the file. If the process is killed in
between, the next one repeats the request, and the ledger recognizes it.
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
    """Rule by which training is requested: as soon as one of its conditions holds.

    Args:
        rows: number of rows of all pending spans, 1 or more; None disables the condition.
        seconds: age of the oldest pending span in seconds, above 0; None disables the condition.
        drift: whether a drifted span requests training at once.

    Raises:
        UsageError: a value is outside its range, or all conditions are disabled.
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
    """A span for which training was not requested yet.

    Attributes:
        span: its name.
        data: URI of its file.
        rows: number of its rows.
        at: time at which it was added, with a time zone.
        drift: the first alarm of drift, as text; "" if there is none.
    """

    span: str
    data: str
    rows: int
    at: datetime
    drift: str = ""


class SpanTraining(Protocol):
    """The dynamic training that reads the spans. Runners serialize it and send it to workers."""

    def arrive(self, span: str, data: str, reason: str, now: datetime) -> None:
        """Adds a span to the ledger's inbox; an existing one is left unchanged."""

    def pump(self, now: datetime) -> str:
        """Starts the run that is due, and returns what it did, as text."""


@dataclass(frozen=True)
class RequestResult:
    """Result of `request_training`.

    Attributes:
        reason: "rows", "time" or "drift"; "" if training is not due.
        spans: names of the spans for which training was requested.
        did: what the training did, as text.
        next: time at which training becomes due if no further span arrives; None if training was requested, nothing is
            pending, or the rule has no `seconds`.
    """

    reason: str
    spans: tuple[str, ...]
    did: str
    next: datetime | None


def add_pending(uri: str, span: PendingSpan) -> None:
    """Adds a span. A span that is already pending is left unchanged.

    Raises:
        UsageError: the file cannot be written.
        DataError: the file is damaged.
        PlatformError: the disk or the service failed; adding again is safe.
    """
    entry = {"data": span.data, "rows": span.rows, "at": span.at.astimezone(UTC).isoformat(), "drift": span.drift}
    _change(uri, lambda spans: {span.span: entry, **spans})


def pending(uri: str) -> list[PendingSpan]:
    """The pending spans, sorted by name.

    Raises:
        DataError: the file is damaged.
        PlatformError: the disk or the service failed.
    """
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
    """The condition by which training is due for some spans: "drift", "rows" or "time"; "" if it is not due."""
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
        uri: URI of the file of pending spans.
        rule: rule by which training is due.
        training: the dynamic training that reads the spans.
        now: current time, with a time zone.

    Raises:
        HeadraceError: as of `training`, or of `add_pending`. The spans stay pending, and calling again is safe.
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
        fix="Remove it, and announce its spans with `headrace dynamic`",
    )
