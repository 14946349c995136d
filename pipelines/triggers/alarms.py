"""Alarms of monitoring as triggers: each new alarm requests a training once."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from headrace.components.monitor.alarms import FILE, Alarm
from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.ledger.pump import PlatformRuns, PumpResult
from headrace.pipelines.dynamic.arrivals import request
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick

_REASON = "alarm"


def latest_alarms(monitoring: str) -> list[Alarm]:
    """The alarms of the last window that has alarms, and those of ages. Those of earlier windows are not new.

    Args:
        monitoring: URI of the output folder of `headrace monitor`, or of its alarms.jsonl.

    Raises:
        DataError: the Monitoring does not exist, or the file is damaged.
    """
    uri = monitoring if monitoring.endswith(".jsonl") else storage.join(monitoring, FILE)
    try:
        with storage.open_input(uri) as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            "the Monitoring does not exist", where=uri, expected="the output of `headrace monitor`"
        ) from error
    try:
        alarms = [_alarm(json.loads(line)) for line in lines]
        last = max((alarm.at for alarm in alarms if alarm.window), default="")
        found = [alarm for alarm in alarms if not alarm.window or alarm.at == last]
        if not all(isinstance(alarm.id, str) and alarm.id for alarm in found):
            raise ValueError("an id is not text")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise DataError("the alarms are damaged", where=uri, received=f"{type(error).__name__}: {error}") from error
    return found


def _alarm(content: Any) -> Alarm:
    window = content.pop("window")
    return Alarm(**content, window=None if window is None else (str(window[0]), str(window[1])))


def trigger_by_alarms(
    settings: DynamicSettings, monitoring: str, now: datetime, *, runs: PlatformRuns | None = None
) -> tuple[list[Alarm], PumpResult]:
    """Requests a training for each of the latest alarms, and pumps. All new requests are one run.

    An alarm that is measured again has the same id, and adds no request.

    Args:
        settings: settings of the dynamic training.
        monitoring: as of `latest_alarms`.
        now: current time, with a time zone.
        runs: runs of the platform; None for those of the settings.

    Returns:
        The latest alarms, and the result of the pump.

    Raises:
        UserError: the Monitoring does not exist, the inbox cannot be written, or the platform rejected the run.
        PlatformError: the disk, the service or the platform failed; triggering again is safe.
    """
    found = latest_alarms(monitoring)
    for alarm in found:
        request(settings, reason=_REASON, event=alarm.id, now=now)
    return found, tick(settings, now, runs=runs)
