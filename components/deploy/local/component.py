"""The KFP face of deployment to a local endpoint."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(model: str, endpoint_folder: str, endpoint: dsl.Output[dsl.Artifact], root: str = "") -> None:
    """Publishes a registered model, starts its server, checks real rows over HTTP, and switches the endpoint to it.

    The version before it is kept for going back. When a check fails, the endpoint stays as it was.

    Args:
        model: where the registry keeps the model.
        endpoint_folder: the endpoint's folder.
        root: where the run's records are kept; "" keeps none.
        endpoint: where it answers, and the versions behind it.
    """
    from headrace.components.deploy.local import step

    step.run(model, endpoint_folder, root, endpoint)
