"""Canary of dynamic training: one step of a canary that a run left under way, on this machine or on a service."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.pump import CanaryProgress
from headrace.core.ledger.state import LedgerRun
from headrace.core.steps.workspace import summary_uri
from headrace.core.storage.compare_and_set import update_json
from headrace.pipelines.dynamic.settings import DynamicSettings

_HOLDS = ("promoted", "live")


def take_step(settings: DynamicSettings, run: LedgerRun) -> CanaryProgress:
    """Runs a step of the canary: it stays, gets more traffic, is promoted, rolled back or withdrawn. Repeating is safe.

    Args:
        settings: settings of the dynamic training.
        run: the run under way whose tasks left the canary.

    Raises:
        Overtaken: the ledger names another run.
        UsageError: the endpoint was stopped, or does not exist.
        DataError: the run left no canary, or the Model, the endpoint's state or the registry is damaged.
        PlatformError: the endpoint does not respond, or another change of it is under way.
    """
    if run.watch is None or run.holder is None:
        raise DataError("the run left no canary", where=settings.folder, received=run.id)
    claim = Claim(settings.folder, run.id, run.holder, run.epoch)
    if settings.platform == "local":
        outcome, reasons = _at_local(settings, run.watch.model, claim)
    else:
        outcome, reasons = _at_service(settings, run.watch.model, claim)
    if outcome == "under way":
        return CanaryProgress(None, f"its canary is under way. {' '.join(reasons)}")
    watched = CanaryProgress("promoted", " ".join(reasons))
    if outcome not in _HOLDS:
        watched = CanaryProgress("kept", f"{outcome}: {' '.join(reasons)}", bad=outcome == "rolled back")
    _tell(settings, run, watched)
    return watched


def _at_local(settings: DynamicSettings, version: str, claim: Claim) -> tuple[str, Sequence[str]]:
    from headrace.components.deploy.local.endpoint import WATCH_LOCK, EndpointFolder
    from headrace.components.deploy.local.publisher import LocalDeployConfig
    from headrace.components.registry.open import open_registry
    from headrace.components.rollout.step import deploy_or_roll_out
    from headrace.core.storage.lock import is_locked

    if is_locked(settings.endpoint, name=WATCH_LOCK):
        return "under way", ("Another process takes a step.",)
    config = LocalDeployConfig(
        model=str(open_registry(settings.registry).path(version)),
        endpoint=settings.endpoint,
        rules=EndpointFolder(settings.endpoint).existing().rules,
        registry=settings.registry,
        why="dynamic training",
        claim=claim,
    )
    result = deploy_or_roll_out(config, settings.canary, once=True)
    return result.outcome, result.reasons


def _at_service(settings: DynamicSettings, version: str, claim: Claim) -> tuple[str, Sequence[str]]:
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.components.deploy.open import open_service
    from headrace.components.rollout.renewal import renew
    from headrace.components.rollout.replay import ServiceReplay
    from headrace.components.rollout.service import ServiceRolloutConfig

    if settings.request_log and importlib.util.find_spec("tensorflow") is None:
        # Such as a Cloud Function, which starts runs. Without the replay, the step would withdraw the canary at its
        # deadline.
        return "under way", ("Its next step replays requests, which a tick on a machine with TensorFlow takes.",)
    config = ServiceRolloutConfig(
        version,
        settings.traffic_log,
        settings.canary or CanarySettings(),
        registry=settings.registry,
        why="dynamic training",
    )
    log = settings.request_log
    replayed = ServiceReplay(settings.registry, log, None) if log else None
    step = renew(open_service(settings.endpoint, registry=settings.registry), config, claim, replayed=replayed)
    return step.outcome, step.reasons


def _tell(settings: DynamicSettings, run: LedgerRun, watched: CanaryProgress) -> None:
    """Adds the outcome to the summary of the run's exit task, which is missing if the task was killed."""
    uri = summary_uri(settings.root, run.id)
    if storage.exists(uri):
        update_json(uri, lambda summary: {**(summary or {}), "outcome": watched.outcome, "why": watched.why})
