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
    """Deploys a registered model, by a canary if one is configured, and makes it the champion if the canary succeeds.

    On an endpoint without a live version it receives all traffic at once. A canary that is worse is rolled back, and
    its version is marked as bad. A retried task resumes the canary.

    Args:
        model: output of `register`.
        endpoint: the endpoint's folder.
        registry: the registry whose champion the model becomes; "" for the registry that contains the model.
        root: pipeline root, where the run's records are stored; "" for no records.
        rules: enforce refuses rows that break the rules of the Model's Problem; warn predicts and counts those whose
            values are out of bounds or unknown.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run changes nothing.
        canary: settings of the canary; {} sends all traffic to the model at once.
        log_share: fraction of the predicted rows that a new endpoint logs; below 0 for no log.
        must_hold: whether the task fails if the canary is rolled back; otherwise a rollback is a result, not an error.
        by_ticks: whether the task runs the first step of the canary, and ticks of dynamic training run the others;
            otherwise it watches the canary until its end.
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
    request_log: str = "",
    labels: str = "",
    problem: str = "",
    problem_digest: str = "",
) -> str:
    """Runs one step of a canary on Vertex AI or KServe; a schedule repeats it until the canary ends.

    It completes the step of a killed task, reads the servers' counts, decides, records the decision, and applies it.
    With a request log, both versions score the logged requests of the canary, and the decision reads the differences.
    The task fails if the canary was rolled back or withdrawn.

    Args:
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.
        version: the Model's headrace version, which is deployed there.
        traffic_log: where the servers of both versions write their counts.
        root: pipeline root, where the run's records are stored; "" for no records.
        settings: fields of `CanarySettings`.
        registry: the versions' registry; "" for the registry that the endpoint records.
        again: whether to retry a version whose canary was withdrawn.
        why: the reason, for the histories.
        request_log: folder, or prefix on gs:// or s3://, where the servers of both versions log requests; "" for no
            replay.
        labels: table with the key and the label of logged requests; "" for none.
        problem: Problem file that names the key and the label of `labels`.
        problem_digest: required digest of the Problem file; "" accepts any.
        step: outcome, traffic and reasons.

    Returns:
        The outcome: under way, promoted or live.
    """
    from headrace.components.rollout import service_step

    return service_step.run(
        endpoint,
        version,
        traffic_log,
        root,
        settings,
        registry,
        again,
        why,
        step,
        request_log,
        labels,
        problem,
        problem_digest,
    )


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
    request_log: str = "",
) -> bool:
    """Runs the first step of a canary on Vertex AI or KServe, for dynamic training; ticks run the other steps.

    On an endpoint without another version, the model receives all traffic at once, and becomes the champion.

    Args:
        model: the Model, which is deployed without traffic.
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.
        traffic_log: where the servers of both versions write their counts.
        registry: the versions' registry.
        claim: output of `claim`. A superseded run changes nothing.
        canary: fields of `CanarySettings`.
        root: pipeline root, where the run's records are stored; "" for no records.
        request_log: where the servers of both versions log requests, which both versions score if `canary` requires
            replayed rows; "" for no log.
        step: outcome, traffic and reasons.

    Returns:
        Whether the model is the champion, and has all traffic.
    """
    from headrace.components.rollout import service_step

    return service_step.renewal(model, endpoint, traffic_log, registry, root, canary, claim, step, request_log)
