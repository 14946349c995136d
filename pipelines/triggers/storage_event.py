"""Cloud Storage events: a finalized object may complete the span in its folder.

Events arrive late, repeatedly and in any order. Therefore each event only causes a listing of the span's folder, and
the last event of a span finds it complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, UsageError, UserError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import PlatformRuns
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick
from headrace.pipelines.triggers.announce import announce
from headrace.pipelines.triggers.closing import ClosingRule, read_manifest, waits_for
from headrace.pipelines.triggers.span import ListedSpan, span_of

FINALIZED = "google.cloud.storage.object.v1.finalized"
SETTINGS, SPANS, CLOSED_BY = "HEADRACE_SETTINGS", "HEADRACE_SPANS", "HEADRACE_CLOSED_BY"


@dataclass(frozen=True)
class StorageTrigger:
    """Options of the function.

    Args:
        settings: gs:// URI of the settings of the dynamic training.
        spans: gs://BUCKET/FOLDER of the spans.
        closing: rule by which spans close; not "quiet".

    Raises:
        UsageError: an option is missing or not valid.
    """

    settings: str
    spans: str
    closing: ClosingRule

    def __post_init__(self) -> None:
        for name, value, expected in (
            (SETTINGS, storage.is_remote(self.settings), "the URI of the settings on gs://"),
            (SPANS, storage.is_remote(self.spans), "gs://BUCKET/FOLDER with the spans"),
        ):
            if not value:
                raise UsageError("the place is not valid", where=name, expected=expected)
        if self.closing.kind == "quiet":
            raise UsageError(
                "a function does not run between two events, so it cannot wait for a quiet time",
                where=CLOSED_BY,
                expected="marker, manifest or object",
                fix="Write a marker or a manifest, or run `headrace watch` on the bucket",
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> StorageTrigger:
        """Reads the options from HEADRACE_SETTINGS, HEADRACE_SPANS and HEADRACE_CLOSED_BY (default: marker).

        Raises:
            UsageError: an option is missing or not valid.
        """
        closing = ClosingRule.parse(environment.get(CLOSED_BY) or "marker")
        return cls(environment.get(SETTINGS, ""), environment.get(SPANS, ""), closing)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of `from_environment`."""
        return {SETTINGS: self.settings, SPANS: self.spans, CLOSED_BY: str(self.closing)}


def handle(
    options: StorageTrigger,
    settings: DynamicSettings,
    kind: str,
    event_id: str,
    data: Any,
    now: datetime,
    *,
    runs: PlatformRuns | None = None,
) -> str:
    """Triggers the training if an event completes a span.

    Args:
        options: options of the function.
        settings: settings of the dynamic training.
        kind: type of the CloudEvent.
        event_id: id of the CloudEvent.
        data: content of the CloudEvent, a StorageObjectData with `bucket` and `name`.
        now: current time, with a time zone.
        runs: runs of the platform; None for those of the settings.

    Returns:
        What was done, as text.

    Raises:
        DataError: the event or the span is not valid, so a retry would fail as well.
        UsageError: access to the bucket or the ledger is denied, so a retry succeeds only after a correction.
        PlatformError: the service failed; the same event may succeed later.
    """
    if kind != FINALIZED:
        return f"ignored an event of type {kind}"
    if not isinstance(data, Mapping) or not all(isinstance(data.get(name), str) for name in ("bucket", "name")):
        raise DataError("the event names no object", where=event_id, expected="data with a bucket and a name")
    uri = f"gs://{data['bucket']}/{data['name']}"
    span = span_of(options.spans, uri)
    if span is None:
        return f"ignored {uri}, which is of no span in {options.spans}"
    if not span.files:
        return f"ignored {uri}, which is gone"
    waiting = waits_for(span, options.closing, read_manifest(span, options.closing), 0.0)
    if waiting is not None:
        return f"span {span.name} waits for {waiting.why}"
    _check_name(span)
    arrival = announce(settings, span, lambda: span_of(options.spans, uri), event=event_id, now=now)
    if arrival is None:
        return f"span {span.name} changed while it was measured: the event of that change follows"
    try:
        why = tick(settings, now, runs=runs).why
    except UserError as error:
        # The ledger counts it as a failed attempt, and a later tick starts the next one.
        why = error.paragraph
    return f"span {span.name} arrived as {arrival.version}: {why}"


def _check_name(span: ListedSpan) -> None:
    try:
        Arrival("0" * 16, span.name, span.data, "", "", "", "")
    except UsageError as error:
        raise DataError(error.what, where=span.data, expected=error.expected, received=error.received) from error
