"""Rollback: one command that reaches the traffic, the registry's aliases and, on request, published predictions.

The intent is written before the first effect, and each effect can be repeated: a killed rollback is finished by the
same command, and a second one changes nothing.
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
        name: traffic, registry or predictions.
        done: what was done, as a sentence without its full stop.
    """

    name: str
    done: str


@dataclass(frozen=True)
class RollbackResult:
    """Result of a rollback.

    Attributes:
        endpoint: its name or folder.
        version: that has all traffic now.
        bad: the version that was left, marked as bad; "" where nothing was to be done.
        steps: what was done, in order.
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
    """Returns to the version before: its traffic, then the aliases of the registry, then published predictions.

    The version that is left is marked as bad, in the endpoint and in its registry, so that no rerun and no schedule
    brings it back. A canary under way is left for the live version.

    Args:
        endpoint: that is rolled back.
        report: receives progress.
        to: the version to return to; None for the one before.
        predictions: the folder of published predictions to set back, where the bad version made the current ones; ""
            for none.
        registry: of the versions; "" for the one that the endpoint knows.
        why: for the histories.
        claim: of the run that rolls back, which changes nothing once it was overtaken; None for no such run.

    Raises:
        UsageError: the endpoint or the version does not exist, or there is no version before.
        GateRefused: `to` is marked as bad.
        DataError: a file of the version, or of the predictions, is damaged.
        PlatformError: a service failed, or another change is under way. The same command finishes the rollback.
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
    """Refuses a version that cannot be returned to, before anything is changed."""
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
    """Makes the last published predictions current that the bad version did not make; again, nothing changes.

    Args:
        folder: of published predictions.
        bad: the version whose predictions are left.
        version: the version that is live instead, for messages.

    Returns:
        What was done, as a sentence without its full stop.

    Raises:
        UsageError: the folder has none but those of the bad version.
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
