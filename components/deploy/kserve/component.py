"""The KFP face of deployment to KServe."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint_name: str,
    endpoint: dsl.Output[dsl.Artifact],
    settings: dict,  # type: ignore[type-arg]
    root: str = "",
) -> None:
    """Applies an InferenceService whose server is ours, and waits until it answers with the model.

    KServe keeps the revision before it; with less than all of the traffic that one has the rest.

    Args:
        model: what `register` gave: the Model in the registry, on gs:// or below the claim's mount.
        endpoint_name: kserve://NAMESPACE/NAME.
        root: where the run's records are kept; "" keeps none.
        endpoint: where it answers, and the manifest that was applied.
        settings: the server, as `kserve.ServiceConfig` takes it.
    """
    from headrace.components.deploy.kserve import deploy as kserve

    kserve.run(model, endpoint_name, root, endpoint, settings)
