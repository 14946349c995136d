"""Observed state: what a service says of its traffic, with the marks, the intent and the history that we wrote.

The service is the truth about traffic: somebody may have changed it in a console. A change that is not in the history
is added to it, so that a rollback knows what was live before.
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
        written: the state that was written last; None for none.
        traffic: percentage by version, at the service.
        deployed: all versions there, in the order of their registration.
        name: of the endpoint.
        where: the endpoint, for messages.

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
    # A version that was live stays it as long as it has traffic: the other one is tried.
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
        # A canary whose next step is intended, and may be done in part, is not over.
        begun = pending is not None and pending.version == written.canary
        return replace(written, traffic=shares, rollout=written.rollout if begun else None)
    mine = pending is not None and pending.version == live
    by = Origin("", "", _SEEN) if pending is None or not mine else Origin(pending.who, pending.at, pending.why)
    action = pending.action if pending is not None and mine else "deploy"
    return written.switched(live, action, by, previous=None if action == "rollback" else kept)
