"""Watch of a canary on Vertex AI or KServe: runs its steps one after another, in one process, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from headrace.components.deploy.base import ServiceEndpoint
from headrace.components.registry.open import registry_clock
from headrace.components.registry.origin import Clock, steady_clock
from headrace.components.rollout.replay import ServiceReplay
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig, advance
from headrace.core.errors import PlatformError
from headrace.core.progress import Progress, silent

# Number of consecutive failures that end the watch, but not the canary: the next call resumes it.
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
    """Runs steps of a canary until it is promoted, rolled back or withdrawn. Another call resumes a killed watch.

    Args:
        endpoint: endpoint of the service.
        config: options of the canary.
        every_s: seconds between two steps.
        report: receives progress.
        observe: called with each step that changed the outcome, the traffic or the reasons.
        replayed: as of `advance`.
        now: clock; None for that of the registry's store.
        sleep: waits for a number of seconds.

    Returns:
        The last step.

    Raises:
        PlatformError: five consecutive steps failed, because of the service or another change under way.
        UsageError, GateRefused, DataError: as of `advance`.
    """
    now = now or steady_clock(registry_clock(config.registry or endpoint.registry())())
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
            # A canary that is withdrawn from now on is not retried.
            config = replace(config, again=False)
        sleep(every_s)
