"""KServe deployment component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint: str,
    deployment: dsl.Output[dsl.Artifact],
    settings: dict,  # type: ignore[type-arg]
    root: str = "",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Applies an InferenceService with headrace's server, and waits until it serves the model.

    KServe retains the previous revision; if this revision receives part of the traffic, the previous one receives
    the rest.

    Args:
        model: output of `register`: the Model in the registry, on gs:// or below the claim's mount.
        endpoint: kserve://NAMESPACE/NAME.
        root: pipeline root, where the run's records are stored; "" for no records.
        deployment: URL of the endpoint, and the manifest that was applied.
        settings: fields of `kserve.InferenceServiceConfig`.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run is refused.
    """
    from headrace.components.deploy.kserve import step

    step.run(model, endpoint, root, deployment, settings, claim)
