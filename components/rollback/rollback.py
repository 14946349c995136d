"""Rollback of an endpoint: its traffic, the registry's aliases and, on request, published predictions.

The intent is written before the first effect, and each effect is idempotent: repeating the command completes an
interrupted rollback, and changes nothing after a completed one.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.components.deploy import registries
from headrace.components.deploy.base import Endpoint
from headrace.components.deploy.plan import rollback_plan
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.registry.origin import origin
from headrace.components.score import publishing
from headrace.core.artifacts.published import current
from headrace.core.errors import GateRefused, HeadraceError
from headrace.core.ledger.claim import Claim
from headrace.core.progress import Progress, silent

TRAFFIC, REGISTRY, PREDICTIONS = "traffic", "registry", "predictions"


@dataclass(frozen=True)
class RollbackStep:
    """A step of a rollback.

    Attributes:
        name: "traffic", "registry" or "predictions".
        done: the change, as a sentence without its full stop.
    """

    name: str
    done: str


@dataclass(frozen=True)
class RollbackResult:
    """Result of a rollback.

    Attributes:
        endpoint: name or folder of the endpoint.
        version: the version that receives all traffic now.
        bad: the replaced version, which is marked as bad; "" if nothing was changed.
        steps: the changes, in order.
    """

    endpoint: str
    version: str
    bad: str
    steps: tuple[RollbackStep, ...]


def rollback(
    endpoint: Endpoint,
    report: Progress = silent,
    *,
    to: str | None = None,
    predictions: str = "",
    registry: str = "",
    why: str = "",
    claim: Claim | None = None,
) -> RollbackResult:
    """Rolls an endpoint back: traffic, then the aliases of the registry, then published predictions.

    The replaced version is marked as bad, in the endpoint and in its registry, so that no rerun and no schedule deploys
    it again. If a canary is running, it ends, and the live version keeps the traffic.

    Args:
        endpoint: the endpoint.
        report: receives progress.
        to: the version to roll back to; None for the previous one.
        predictions: folder of published predictions, which are rolled back if the bad version made the current ones;
            "" for no predictions.
        registry: the versions' registry; "" for the registry that the endpoint records.
        why: the reason, for the histories.
        claim: claim of the run that rolls back, which changes nothing once it was overtaken; None outside of a run.

    Raises:
        UsageError: the endpoint or the version does not exist, or there is no previous version.
        GateRefused: `to` is marked as bad.
        DataError: a file of the version or of the predictions is damaged.
        PlatformError: a service failed, or another change is in progress. The same command completes the rollback.
    """
    by = origin(why)
    with endpoint.changing():
        state = endpoint.state()
        registry = registry or endpoint.registry()
        unusable = registries.unusable(registry)
        pending = rollback_plan(state, by, where=endpoint.where, to=to, predictions=predictions, unusable=unusable)
        if pending is None:
            return _done_before(endpoint, state, predictions)
        _check(endpoint, state, pending, registry)
        intended = state.begun(pending)
        if intended != state:
            endpoint.write(intended, state)
        try:
            return _carried_out(endpoint, intended, pending, registry, report, claim)
        except HeadraceError as error:
            error.fix = error.fix or f"The rollback is half-finished: run the same command again ({endpoint.where})"
            raise


def _check(endpoint: Endpoint, state: EndpointState, pending: PendingChange, registry: str) -> None:
    """Refuses a version that cannot serve, before anything is changed."""
    if registry:
        registries.refuse_bad(registry, pending.version)
    if pending.version != state.live:
        endpoint.check(pending.version)


def _carried_out(
    endpoint: Endpoint,
    state: EndpointState,
    pending: PendingChange,
    registry: str,
    report: Progress,
    claim: Claim | None,
) -> RollbackResult:
    steps = [RollbackStep(TRAFFIC, endpoint.shift(state, pending, report))]
    report("setting the aliases of the registry")
    steps.append(RollbackStep(REGISTRY, _in_registry(registry, pending, claim)))
    if pending.predictions:
        report("setting back the published predictions")
        steps.append(RollbackStep(PREDICTIONS, set_back(pending.predictions, pending.bad, pending.version)))
    now = endpoint.state()
    settled = now.settled("rollback")
    if settled != now:
        endpoint.write(settled, now)
    return RollbackResult(endpoint.where, pending.version, pending.bad, tuple(steps))


def _in_registry(registry: str, pending: PendingChange, claim: Claim | None) -> str:
    if not registry:
        return "the endpoint knows no registry (--registry names one): the mark is in the endpoint alone"
    why = pending.why or f"rolled back to {pending.version}"
    return registries.mark_bad(registry, pending.bad, pending.version, why, claim)


def _done_before(endpoint: Endpoint, state: EndpointState, predictions: str) -> RollbackResult:
    last = state.history[-1] if state.history else None
    when = f" since {last.at}, by {last.who or 'an earlier release'} ({last.action})" if last is not None else ""
    steps = [RollbackStep(TRAFFIC, f"{state.live} has all traffic{when}: nothing to change")]
    bad = state.history[-2].version if len(state.history) > 1 and state.history[-2].version in state.bad else ""
    if predictions and bad:
        steps.append(RollbackStep(PREDICTIONS, set_back(predictions, bad, state.live)))
    return RollbackResult(endpoint.where, state.live, "", tuple(steps))


def set_back(folder: str, bad: str, version: str) -> str:
    """Rolls published predictions back to the last ones of another version. A repeated call changes nothing.

    Args:
        folder: folder of published predictions.
        bad: the version whose predictions are replaced.
        version: the version that is live instead, for messages.

    Returns:
        The change, as a sentence without its full stop.

    Raises:
        GateRefused: all published predictions are of the bad version.
        DataError: the predictions are damaged.
        PlatformError: the disk or the service failed.
    """
    now = current(folder)
    if not now:
        return f"nothing is published in {folder}"
    if now["model_version"] != bad:
        return f"{folder} shows predictions of version {now['model_version']}: nothing to change"
    target = publishing.last_not_of(folder, bad)
    if target is None:
        raise GateRefused(
            "all published predictions are of the bad version",
            where=folder,
            expected="earlier ones of another version",
            received=f"predictions of {bad}",
            fix=f"Score again with {version}: headrace run batch-scoring",
        )
    published = publishing.rollback(folder, target)
    return f"{folder} shows {published.identity} again"
