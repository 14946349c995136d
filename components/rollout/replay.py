"""Replay of a rollout: the logged requests of the canary, scored again by both versions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import UsageError
from headrace.core.progress import Progress, silent

if TYPE_CHECKING:
    # It needs NumPy, which a canary without a replay does not.
    from headrace.components.deploy.canary.replay import Losses, ReplayEvidence, ReplaySession
    from headrace.core.scoring.online.model import OnlineModel

# Maximum rows of one call, which is no limit in practice: all rows of the log are scored.
_MAXIMUM_ROWS = 1 << 40


def check_logged(folder: EndpointFolder, state: EndpointState) -> None:
    """Checks that an endpoint logs requests.

    Raises:
        UsageError: the endpoint logs no requests.
    """
    if not state.log_share:
        raise UsageError(
            "the endpoint logs no requests, which a replay needs",
            where=folder.uri,
            expected="an endpoint that was deployed with --request-log-share",
            fix=f"Deploy the live version again: headrace deploy --model {folder.version_path(state.live)} --endpoint "
            f"{folder.uri} --request-log-share 0.1",
        )


def check_request_log(
    settings: CanarySettings, request_log: str, registry: str, labels: str = "", problem: str = ""
) -> None:
    """Refuses a canary at a service that is decided by a replay, and lacks what the replay reads.

    Args:
        settings: of the canary.
        request_log: of the servers of both versions; "" for none.
        registry: of both versions; "" for none.
        labels: table of the labels of logged requests; "" for none.
        problem: Problem file that names the key and the label; "" for none.

    Raises:
        UsageError: something is missing.
    """
    if settings.needs_replay and not request_log:
        raise UsageError(
            "the settings of the canary require replayed requests",
            where="CanarySettings",
            expected="--request-log URI, or request_log of a pipeline: the log of the servers of both versions",
            received="none",
            fix="Name the log, or leave minimum_replayed, maximum_differing and minimum_labelled at their defaults",
        )
    if labels and not (problem and request_log):
        raise UsageError(
            "labels need the Problem, and a request log",
            where="labels",
            expected="a request log, labels and the Problem file",
            received="no request log" if problem else "no Problem file",
        )
    check_labelled(settings, labelled=bool(labels))
    if request_log and not registry:
        raise UsageError(
            "the replay has no models", where="registry", expected="the registry of both versions", received="none"
        )


def check_labelled(settings: CanarySettings, *, labelled: bool) -> None:
    """Refuses a canary that requires labelled rows where there are no labels: it would wait for its deadline.

    Raises:
        UsageError: there are none.
    """
    if settings.minimum_labelled and not labelled:
        raise UsageError(
            "the settings of the canary require labelled rows",
            where="CanarySettings",
            expected="labels of logged requests, and the Problem file",
            received=f"minimum_labelled = {settings.minimum_labelled}, and no labels",
        )


def read_losses(labels: str, problem: str, digest: str = "") -> Losses | None:
    """The losses of labelled rows; None without labels.

    Args:
        labels: table with the key and the label; "" for none.
        problem: Problem file that names them.
        digest: of the Problem file; "" accepts any.

    Raises:
        UserError: the Problem file is not valid, or labels cannot be joined to requests.
        DataError: the table is damaged, or has no usable label.
    """
    if not labels:
        return None
    from headrace.components.deploy.canary.labels import read_labels
    from headrace.core.problem.file import load_problem

    return read_labels(load_problem(problem, digest=digest).problem, labels)


class ServiceReplay:
    """The replay of a canary on a service. It stores nothing: another process reads the log again, with equal results.

    Args:
        registry: registry of both versions.
        request_log: folder, or prefix on gs:// or s3://, to which the servers of both versions write.
        losses: losses of labelled rows; None without labels.
        report: receives progress.
    """

    def __init__(self, registry: str, request_log: str, losses: Losses | None, report: Progress = silent) -> None:
        self._registry = registry
        self._request_log = request_log
        self._losses = losses
        self._report = report
        self._session: ReplaySession | None = None
        self._of: tuple[str, str, datetime] | None = None

    def __call__(self, stable: str, canary: str, since: datetime) -> ReplayEvidence:
        """All logged requests of a canary since a time, scored by both versions.

        Args:
            stable: the version that the canary is compared with.
            canary: the version that the canary tests.
            since: time at which the canary was staged, with a time zone.

        Raises:
            UsageError: a version is not in the registry, or cannot score the logged columns.
            DataError: a Model or a file of the log is damaged.
            PlatformError: a model or a store failed.
        """
        from headrace.components.deploy.canary.replay import ReplaySession

        if self._session is None or self._of != (stable, canary, since):
            models = [self._load(version) for version in (stable, canary)]
            self._session = ReplaySession(
                self._request_log, canary, *models, losses=self._losses, since=since.timestamp()
            )
            self._of = stable, canary, since
        return self._session.update(_MAXIMUM_ROWS)

    def _load(self, version: str) -> OnlineModel:
        from headrace.components.registry.open import open_registry
        from headrace.core.saved_model.find import find_source, verify_source
        from headrace.core.scoring.online.model import OnlineModel
        from headrace.core.tensorflow_import import import_tensorflow

        self._report(f"loading {version} for the replay")
        model = open_registry(self._registry).path(version)
        verify_source(model)
        import_tensorflow()
        return OnlineModel(find_source(model))


def endpoint_replay(folder: EndpointFolder, losses: Losses | None, report: Progress) -> Callable[[], ReplayEvidence]:
    """Loads both versions. The returned function scores the requests logged since its last call, and returns the total.

    Args:
        folder: folder of an endpoint with a canary.
        losses: losses of labelled rows; None without labels.
        report: receives progress.

    Raises:
        DataError: a Model is damaged.
    """
    from headrace.components.deploy.canary.replay import ReplaySession
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
