"""Rollout component: deployment by a canary on an endpoint of this machine, as an interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint: str,
    registry: str,
    deployment: dsl.Output[dsl.Artifact],
    root: str = "",
    rules: str = "enforce",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    canary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    log_share: float = -1.0,
) -> bool:
    """Deploys a registered model, by a canary if one is configured, and makes it the champion if it holds.

    A canary that is worse goes back, and its version is marked as bad: that is a result, and no error.

    Args:
        model: output of `register`.
        endpoint: the endpoint's folder.
        registry: of the model, whose champion it becomes.
        root: pipeline root, where the run's records are stored; "" for no records.
        rules: enforce refuses rows that break the rules of the Model's Problem; warn predicts and counts those whose
            values are out of bounds or unknown.
        claim: output of `claim`, of a run of dynamic training, which changes nothing once it was overtaken; or {}.
        canary: settings of the canary; {} gives the model all traffic at once.
        log_share: fraction of the predicted rows that a new endpoint logs; below 0 for none.
        deployment: URL, version and outcome.

    Returns:
        Whether the model is the champion, and has all traffic.
    """
    from headrace.components.rollout import step

    return step.run(model, endpoint, registry, root, rules, claim, canary, log_share, deployment)
