"""Trigger: an event becomes a data version or a request in the inbox, and the pump starts the run that is due."""

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
    """What happened.

    Attributes:
        reason: "file", "request", "message", "schedule" or "alarm".
        id: of the event; "" for a request that is the same until its run ended, see `arrivals.request`.
        data: that came; "" for a request to train with the data that is there.
        span: name of the span that the data is; "" without data.
    """

    reason: str
    id: str = ""
    data: str = ""
    span: str = ""


@dataclass(frozen=True)
class TriggerResult:
    """What followed: the arrival in the inbox, the first one of its data version, and what the pump did."""

    arrival: Arrival
    pumped: PumpResult


def trigger(
    settings: DynamicSettings, event: Event, now: datetime, *, runs: PlatformRuns | None = None
) -> TriggerResult:
    """Adds the event to the inbox, and pumps. However often it is called, each data version gets one run.

    Args:
        settings: of the dynamic training.
        event: that happened.
        now: the time, with its zone.
        runs: of the platform; None for those of the settings.

    Raises:
        UserError: the event is not valid, there is no data, or the platform refused the run: the arrival stays.
        PlatformError: the disk or the platform failed; triggering again is safe.
    """
    if event.data:
        arrival = arrive(settings, data=event.data, span=event.span, reason=event.reason, event=event.id, now=now)
    else:
        arrival = request(settings, reason=event.reason, event=event.id, now=now)
    return TriggerResult(arrival, tick(settings, now, runs=runs))
