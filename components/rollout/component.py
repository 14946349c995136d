"""Rollout components: their interfaces for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint: str,
    deployment: dsl.Output[dsl.Artifact],
    registry: str = "",
    root: str = "",
    rules: str = "enforce",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    canary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    log_share: float = -1.0,
    must_hold: bool = False,
    by_ticks: bool = False,
) -> bool:
    """Deploys a registered model, by a canary if one is configured, and makes it the champion if it holds.

    On an endpoint without a live version it gets all traffic at once. A canary that is worse goes back, and its version
    is marked as bad. A task that is tried again resumes the canary.

    Args:
        model: output of `register`.
        endpoint: the endpoint's folder.
        registry: of the model, whose champion it becomes; "" for the one that the model is in.
        root: pipeline root, where the run's records are stored; "" for no records.
        rules: enforce refuses rows that break the rules of the Model's Problem; warn predicts and counts those whose
            values are out of bounds or unknown.
        claim: output of `claim`, of a run of dynamic training, which changes nothing once it was overtaken; or {}.
        canary: settings of the canary; {} gives the model all traffic at once.
        log_share: fraction of the predicted rows that a new endpoint logs; below 0 for none.
        must_hold: whether the task fails where the canary goes back; else that is a result, and no error.
        by_ticks: whether the task takes the first step of the canary, and leaves the others to ticks of dynamic
            training; else it watches the canary until the end.
        deployment: URL, versions, outcome and reasons.

    Returns:
        Whether the model is the champion, and has all traffic.
    """
    from headrace.components.rollout import step

    return step.run(model, endpoint, registry, root, rules, claim, canary, log_share, must_hold, deployment, by_ticks)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def canary(
    endpoint: str,
    version: str,
    traffic_log: str,
    step: dsl.Output[dsl.Artifact],
    root: str = "",
    settings: dict = {},  # type: ignore[type-arg]  # noqa: B006 - kfp reads the value
    registry: str = "",
    again: bool = False,
    why: str = "",
) -> str:
    """Takes one step of a canary at Vertex AI or KServe, and ends; a schedule runs it again until the canary ends.

    It finishes what a killed task began, reads what the servers counted, decides, writes what it intends, and does it.
    The task fails where the canary was rolled back or withdrawn.

    Args:
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.
        version: the Model's headrace version, which is deployed there.
        traffic_log: where the servers of both versions write their counts.
        root: pipeline root, where the run's records are stored; "" for no records.
        settings: fields of `CanarySettings`.
        registry: of the versions; "" for the one that the endpoint knows.
        again: whether a version whose canary was withdrawn is tried again.
        why: for the histories.
        step: outcome, traffic and reasons.

    Returns:
        The outcome: under way, promoted or live.
    """
    from headrace.components.rollout import service_step

    return service_step.run(endpoint, version, traffic_log, root, settings, registry, again, why, step)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def renew(
    model: dsl.Input[dsl.Model],
    endpoint: str,
    traffic_log: str,
    registry: str,
    claim: dict,  # type: ignore[type-arg]
    canary: dict,  # type: ignore[type-arg]
    step: dsl.Output[dsl.Artifact],
    root: str = "",
) -> bool:
    """Takes the first step of a canary at Vertex AI or KServe, of a run of dynamic training; ticks take the others.

    On an endpoint without another version, the model gets all traffic at once, and becomes the champion.

    Args:
        model: the Model, which is deployed without traffic.
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.
        traffic_log: where the servers of both versions write their counts.
        registry: of the versions.
        claim: output of `claim`, of a run that changes nothing once it was overtaken.
        canary: fields of `CanarySettings`.
        root: pipeline root, where the run's records are stored; "" for no records.
        step: outcome, traffic and reasons.

    Returns:
        Whether the model is the champion, and has all traffic.
    """
    from headrace.components.rollout import service_step

    return service_step.renewal(model, endpoint, traffic_log, registry, root, canary, claim, step)
