"""Checks of a dynamic training's canary: that it has the evidence that it is decided by, and that it ends in time."""

from __future__ import annotations

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.core.errors import UsageError


def check_canary(
    canary: CanarySettings | None, *, where: str, of_service: bool, by_ticks: bool, traffic_log: str, request_log: str
) -> None:
    """Refuses a canary that would never have the evidence to be promoted.

    Args:
        canary: its settings; None for none.
        where: for messages.
        of_service: whether the endpoint is one of Vertex AI or KServe.
        by_ticks: whether ticks take the steps of a canary on an endpoint of this machine.
        traffic_log: where the servers of a service write their counts; "" for none.
        request_log: where they log requests, for a canary that is decided by a replay; "" for none.

    Raises:
        UsageError: something is missing, or is there without need.
    """
    if of_service and (canary is None) != (not traffic_log):
        raise UsageError(
            "a canary and its traffic log belong together",
            where=where,
            expected="both, or neither",
            received=traffic_log or "no traffic log",
        )
    replays = of_service and canary is not None and canary.needs_replay
    if replays != bool(request_log):
        raise UsageError(
            "a canary that is decided by replayed requests and its request log belong together",
            where=where,
            expected="both, at a service, or neither",
            received=request_log or "no request log",
            fix="Write the settings again: headrace dynamic init --replace",
        )
    if canary is not None and canary.minimum_labelled:
        raise UsageError(
            "a canary of dynamic training has no labels",
            where=where,
            expected="minimum_labelled = 0",
            received=str(canary.minimum_labelled),
            fix="Use minimum_replayed and maximum_differing; `headrace endpoint canary` reads labels",
        )
    if by_ticks and canary is None:
        raise UsageError("ticks have no canary to watch", where=where, expected="a canary")


def check_deadline(canary: CanarySettings | None, left_s: float, where: str) -> None:
    """Refuses a canary that cannot end in time, before any run.

    Args:
        canary: its settings; None for none.
        left_s: the deadline without the training's fraction, in seconds.
        where: for messages.

    Raises:
        UsageError: its steps take longer.
    """
    needed = 0.0 if canary is None else canary.shortest_s
    if needed > left_s:
        raise UsageError(
            "the canary does not fit into the deadline",
            where=where,
            expected=f"at most {left_s:,.0f} s for its steps: the deadline without the training's fraction",
            received=f"{needed:,.0f} s",
            fix="Give a longer deadline, a smaller fraction for training, or shorter steps",
        )
