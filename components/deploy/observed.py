"""Observed state: the traffic that a service reports, with the marks, the intent and the history that headrace wrote.

The service is authoritative for traffic, which somebody may have changed in a console. A change that is missing in the
history is added to it, so that a rollback finds the version that was live before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headrace.components.deploy.state import EndpointState
from headrace.components.registry.state import Origin
from headrace.core.errors import DataError, UsageError

_SEEN = "seen at the service"


def observed(
    written: EndpointState | None, traffic: Mapping[str, int], deployed: Sequence[str], name: str, where: str
) -> EndpointState:
    """The state of an endpoint of a service.

    Args:
        written: the state that was written last; None if none was written.
        traffic: percentage by version, as reported by the service.
        deployed: all deployed versions, in the order of their registration.
        name: name of the endpoint.
        where: the endpoint, for errors.

    Raises:
        UsageError: nothing is deployed.
        DataError: the traffic does not sum to 100.
    """
    shares = {version: percent for version, percent in traffic.items() if percent}
    if not shares:
        raise UsageError("the endpoint serves no version", where=where, expected="a deployed model with traffic")
    if sum(shares.values()) != 100:
        raise DataError(
            "the traffic of the endpoint does not sum to 100", where=where, received=str(dict(sorted(shares.items())))
        )
    # The live version stays live as long as it has traffic: the other one is a canary.
    kept = None if written is None else written.live
    live = kept if kept in shares else max(shares, key=lambda version: (shares[version], version))
    if written is None:
        previous = next((version for version in reversed(deployed) if version not in shares), None)
        return EndpointState(name, live, previous, traffic=shares)
    if dict(written.traffic) == shares and written.live == live:
        return written
    if len(shares) > 1:
        return replace(written, live=live, traffic=shares, previous=written.previous if written.live == live else kept)
    pending = written.pending
    if written.live == live:
        # A canary is not over if its next step is intended, and perhaps partly applied.
        begun = pending is not None and pending.version == written.canary
        return replace(written, traffic=shares, rollout=written.rollout if begun else None)
    mine = pending is not None and pending.version == live
    by = Origin("", "", _SEEN) if pending is None or not mine else Origin(pending.who, pending.at, pending.why)
    action = pending.action if pending is not None and mine else "deploy"
    return written.switched(live, action, by, previous=None if action == "rollback" else kept)
