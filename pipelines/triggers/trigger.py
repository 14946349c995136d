"""Trigger: adds an event to the inbox, as data or as a request, and starts the run that is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import PlatformRuns, PumpResult
from headrace.pipelines.dynamic.arrivals import arrive, request
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick


@dataclass(frozen=True)
class Event:
    """An event that triggers a training.

    Attributes:
        reason: "file", "request", "message", "schedule" or "alarm".
        id: id of the event. A request with the id "" is one request until its run ended; see `arrivals.request`.
        data: URI of new data; "" for a request to train on the existing data.
        span: name of the data's span; "" without data.
    """

    reason: str
    id: str = ""
    data: str = ""
    span: str = ""


@dataclass(frozen=True)
class TriggerResult:
    """Result of a trigger.

    Attributes:
        arrival: the arrival in the inbox; for a repeated event, the first one.
        pumped: result of the pump.
    """

    arrival: Arrival
    pumped: PumpResult


def trigger(
    settings: DynamicSettings, event: Event, now: datetime, *, runs: PlatformRuns | None = None
) -> TriggerResult:
    """Adds the event to the inbox, and pumps. However often it is called, each data version gets one run.

    Args:
        settings: settings of the dynamic training.
        event: the event.
        now: current time, with a time zone.
        runs: runs of the platform; None for those of the settings.

    Raises:
        UserError: the event is not valid, there is no data, or the platform rejected the run, whose arrival remains.
        PlatformError: the disk or the platform failed; triggering again is safe.
    """
    if event.data:
        arrival = arrive(settings, data=event.data, span=event.span, reason=event.reason, event=event.id, now=now)
    else:
        arrival = request(settings, reason=event.reason, event=event.id, now=now)
    return TriggerResult(arrival, tick(settings, now, runs=runs))
