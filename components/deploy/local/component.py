"""Local deployment component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str, endpoint: str, deployment: dsl.Output[dsl.Artifact], root: str = "", rules: str = "enforce"
) -> None:
    """Publishes a registered model, starts its server, checks golden rows over HTTP, and switches the endpoint to it.

    The previous version is retained for a rollback. If a check fails, the endpoint does not change.

    Args:
        model: URI of the model in the registry.
        endpoint: the endpoint's folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        rules: enforce refuses rows that break the rules of the Model's Problem; warn predicts and counts those whose
            values are out of bounds or unknown.
        deployment: URL and versions of the endpoint.
    """
    from headrace.components.deploy.local import step

    step.run(model, endpoint, root, deployment, rules)
