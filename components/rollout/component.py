"""Rollout components: their interfaces for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint: str,
    deployment: dsl.Output[dsl.Artifact],
    settings: dict,  # type: ignore[type-arg]
    root: str = "",
    rules: str = "enforce",
) -> None:
    """Deploys a registered model to an endpoint of this machine as a canary, and watches it until it is decided.

    On an endpoint without a live version it gets all traffic at once. A canary that is worse, or without enough
    evidence at its deadline, goes back, and the task fails. A task that is tried again resumes the canary.

    Args:
        model: URI of the model in the registry.
        endpoint: the endpoint's folder.
        settings: fields of `CanarySettings`.
        root: pipeline root, where the run's records are stored; "" for no records.
        rules: enforce refuses rows that break the rules of the Model's Problem; warn predicts and counts those whose
            values are out of bounds or unknown.
        deployment: URL and versions of the endpoint.
    """
    from headrace.components.rollout import step

    step.run(model, endpoint, root, deployment, settings, rules)


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
