"""Submission: equal pipelines, parameters and data are the same run, which is created once."""

from __future__ import annotations

import itertools

from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy, create_once, retry
from headrace.pipelines.submission.run import PlatformRun, Schedule, Service, Submission
from headrace.pipelines.submission.run_id import attempt

# A run without a result may be retried; one that succeeded, or that the gate refused, would have the same result.
_TRIED_AGAIN = ("failed", "cancelled", "cancelling")


def submit(service: Service, run_id: str, submission: Submission, policy: RetryPolicy) -> tuple[PlatformRun, bool]:
    """Starts a run, unless it already exists.

    A run that failed or was cancelled is retried under the next attempt's name, ID-2, ID-3, ...: its finished tasks are
    cached by the platform.

    Returns:
        The run, and whether it is new.

    Raises:
        HeadraceError: the platform rejected the request, or failed.
    """
    for number in itertools.count(1):
        name = attempt(run_id, number)
        found = retry(lambda name=name: service.find(name), policy)  # type: ignore[misc]
        if found is None:
            break
        if found.state not in _TRIED_AGAIN:
            return found, False
    made = create_once(lambda: service.create(name, submission), lambda: service.find(name), policy)
    return made, True


def put_schedule(
    service: Service, name: str, cron: str, timezone: str, submission: Submission, policy: RetryPolicy
) -> tuple[Schedule, bool]:
    """Creates a schedule, or updates the one of that name.

    Returns:
        The schedule, and whether it is new.

    Raises:
        UsageError: several schedules have the name; another tool created them.
        HeadraceError: the platform rejected the request, or failed.
    """
    found = retry(lambda: _find(service, name), policy)
    if found is not None:
        return retry(lambda: service.change(found, cron, timezone, submission), policy), False
    made = create_once(lambda: service.schedule(name, cron, timezone, submission), lambda: _find(service, name), policy)
    return made, True


def find_schedule(service: Service, name: str, policy: RetryPolicy) -> Schedule:
    """Finds a schedule by its name.

    Raises:
        UsageError: no schedule, or more than one, has the name.
    """
    found = retry(lambda: _find(service, name), policy)
    if found is None:
        known = sorted(one.name for one in retry(service.schedules, policy))
        raise UsageError("the schedule does not exist", where=name, expected=", ".join(known) or "an existing schedule")
    return found


def _find(service: Service, name: str) -> Schedule | None:
    found = [one for one in service.schedules() if one.name == name]
    if len(found) > 1:
        raise UsageError(
            "several schedules have this name",
            where=name,
            received=", ".join(one.reference for one in found),
            fix="Delete the unwanted ones with the platform's own tool, or choose another --name",
        )
    return found[0] if found else None
