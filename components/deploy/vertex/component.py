"""Vertex AI deployment component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint: str,
    deployment: dsl.Output[dsl.Artifact],
    root: str = "",
    machine_type: str = "n1-standard-4",
    traffic: int = 100,
    min_replicas: int = 1,
    max_replicas: int = 1,
    labels: dict = {},  # type: ignore[type-arg]  # noqa: B006 - kfp reads the value
    accelerator: str = "",
    accelerator_count: int = 0,
    service_account: str = "",
    encryption_key: str = "",
    timeout_minutes: int = 60,
    dedicated: bool = False,
    inference_timeout_s: int = 600,
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Deploys a registered model to an endpoint with a given percentage of its traffic; creates the endpoint if needed.

    A model is deployed once: a retried task finds the deployment that it created. If the model gets all of the
    traffic, the previous version stays deployed without traffic for a rollback; older ones are undeployed.

    Args:
        model: output of `register`.
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID.
        root: pipeline root, where the run's records are stored; "" for no records.
        deployment: name, versions and traffic of the endpoint.
        machine_type: machine type of each replica.
        traffic: percentage of the requests; the first model gets all.
        min_replicas, max_replicas: bounds of autoscaling.
        labels: labels of a new endpoint, for billing.
        accelerator, accelerator_count: accelerator type of each replica, and their number; "" and 0 for none.
        service_account: service account of the server; "" for the service's default.
        encryption_key: name of a Cloud KMS key for a new endpoint; "" for Google's own key.
        timeout_minutes: maximum time until the model is served, in minutes.
        dedicated: whether a new endpoint is a dedicated public one: requests of 10 MB, at its own host.
        inference_timeout_s: timeout of a request to a dedicated endpoint, in seconds, 1 to 3600.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run is refused.
    """
    from headrace.components.deploy.vertex import step
    from headrace.components.deploy.vertex.deploy import VertexDeployConfig

    config = VertexDeployConfig(
        model=model,
        endpoint=endpoint,
        machine_type=machine_type,
        traffic=traffic,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        labels=labels,
        accelerator=accelerator,
        accelerator_count=accelerator_count,
        service_account=service_account,
        encryption_key=encryption_key,
        timeout_minutes=timeout_minutes,
        dedicated=dedicated,
        inference_timeout_s=inference_timeout_s,
    )
    step.run(config, root, deployment, claim)
