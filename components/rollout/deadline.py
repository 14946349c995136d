"""Deadline of a run for its deployment: one that cannot end in time is not begun, one that was begun is finished."""

from __future__ import annotations

import math

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.state import EndpointState
from headrace.core.ledger.claim import Claim, may_begin


def time_left(claim: Claim | None, version: str, state: EndpointState | None, settings: CanarySettings | None) -> float:
    """Seconds that a deployment may still use; infinity without a deadline, or where a killed task began it.

    Args:
        claim: of the run; None for no such run.
        version: to deploy.
        state: of the endpoint; None where it does not exist.
        settings: of the canary; None for none.

    Raises:
        Overtaken: another run took the place of this one.
        PlatformError: there is too little time for the canary's steps, or none for a deployment.
    """
    if state is not None and version in (state.live, state.canary):
        return math.inf
    # Without a version to compare with, it has all traffic at once.
    return may_begin(claim, "deploy", 0.0 if state is None or settings is None else settings.shortest_s)
