"""Watch of a canary at Vertex AI or KServe: its steps one after another, in one process, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from headrace.components.deploy.base import ServiceEndpoint
from headrace.components.registry.origin import Clock, steady_clock
from headrace.components.rollout.replay import ServiceReplay
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig, advance
from headrace.core.errors import PlatformError
from headrace.core.progress import Progress, silent

# A service that fails for longer ends the watch, not the canary: the next call continues it.
_ATTEMPTS = 5


def watch(
    endpoint: ServiceEndpoint,
    config: ServiceRolloutConfig,
    every_s: float,
    report: Progress = silent,
    *,
    observe: Callable[[RolloutStep], None] = lambda _: None,
    replayed: ServiceReplay | None = None,
    now: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RolloutStep:
    """Takes steps of a canary until it is promoted, rolled back or withdrawn; killed and called again, it continues.

    Args:
        endpoint: of the service.
        config: of the canary.
        every_s: seconds between two steps.
        report: receives progress.
        observe: called with each step that changed the outcome, the traffic or the reasons.
        replayed: as of `advance`.
        now: the time; by default of `steady_clock`.
        sleep: waits for seconds.

    Returns:
        The last step.

    Raises:
        PlatformError: the service failed five times in a row, or another change was under way for as long.
        UsageError, GateRefused, DataError: as of `advance`.
    """
    now = now or steady_clock()
    last: RolloutStep | None = None
    failures = 0
    while True:
        try:
            step = advance(endpoint, config, report, replayed=replayed, now=now)
        except PlatformError as error:
            failures += 1
            if failures == _ATTEMPTS:
                raise
            report(f"the next step tries again: {error.paragraph}")
        else:
            failures = 0
            if step != last:
                observe(step)
            if step.outcome != "under way":
                return step
            last = step
            # A canary that is withdrawn from now on is not tried again.
            config = replace(config, again=False)
        sleep(every_s)
