"""Rollout component: its interface for KFP."""

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
