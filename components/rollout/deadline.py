"""Deadline of a run's deployment: one that cannot end in time is not begun, and one that was begun is finished."""

from __future__ import annotations

import math

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.state import EndpointState
from headrace.core.ledger.claim import Claim, may_begin


def time_left(claim: Claim | None, version: str, state: EndpointState | None, settings: CanarySettings | None) -> float:
    """Seconds that a deployment may still use; infinity if there is no deadline, or if a killed task began it.

    Args:
        claim: claim of the run; None for a run outside dynamic training.
        version: version to deploy.
        state: state of the endpoint; None if the endpoint does not exist.
        settings: settings of the canary; None deploys without a canary.

    Raises:
        Overtaken: another run superseded this one.
        DataError: the ledger is damaged.
        PlatformError: the time left is too short for the canary's steps or a deployment, or the ledger cannot be read.
    """
    if state is not None and version in (state.live, state.canary):
        return math.inf
    # Without a version to compare with, the new one gets all traffic at once.
    return may_begin(claim, "deploy", 0.0 if state is None or settings is None else settings.shortest_s)
