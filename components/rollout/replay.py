"""Replay of a rollout: the endpoint's logged requests of the canary, scored again by both versions of its folder."""

from __future__ import annotations

from collections.abc import Callable

from headrace.components.deploy.canary.replay import Losses, Replayed, ReplaySession
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import UsageError
from headrace.core.progress import Progress


def needs_replay(settings: CanarySettings) -> bool:
    """Whether a canary is decided by replayed or labelled rows too."""
    return bool(settings.minimum_replayed or settings.minimum_labelled or settings.maximum_differing is not None)


def check_logged(folder: EndpointFolder, state: EndpointState) -> None:
    """Refuses an endpoint whose requests are not logged.

    Raises:
        UsageError: they are not.
    """
    if not state.log_share:
        raise UsageError(
            "the endpoint logs no requests, which a replay needs",
            where=folder.uri,
            expected="an endpoint that was deployed with --request-log-share",
            fix=f"Deploy the live version again: headrace deploy --model {folder.version_path(state.live)} --endpoint "
            f"{folder.uri} --request-log-share 0.1",
        )


def endpoint_replay(folder: EndpointFolder, losses: Losses | None, report: Progress) -> Callable[[], Replayed]:
    """Loads both versions, and returns what scores the requests that were logged since the last call.

    Args:
        folder: of an endpoint with a canary.
        losses: of labelled rows; None without labels.
        report: receives progress.

    Raises:
        DataError: a Model is damaged.
    """
    from headrace.core.saved_model.find import find_source
    from headrace.core.scoring.online.model import OnlineModel
    from headrace.core.tensorflow_import import import_tensorflow

    state = folder.existing()
    canary = state.canary or state.live
    report("loading both versions for the replay")
    import_tensorflow()
    stable_model, canary_model = (
        OnlineModel(find_source(str(folder.version_path(version)))) for version in (state.live, canary)
    )
    before = () if state.rollout is None else state.rollout.logged
    session = ReplaySession(str(folder.requests), canary, stable_model, canary_model, losses=losses, before=before)
    return session.update
