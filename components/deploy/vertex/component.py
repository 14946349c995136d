"""The KFP face of deployment to a Vertex AI endpoint."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def deploy(
    model: str,
    endpoint_name: str,
    endpoint: dsl.Output[dsl.Artifact],
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
) -> None:
    """Deploys a registered model to an endpoint with a stated share of its traffic; the first one makes the endpoint.

    A model is deployed once: a task that is tried again finds the deployment that it made. With all of the traffic the
    version before it stays, with none of it, for going back; those before that are taken away.

    Args:
        model: what `register` gave.
        endpoint_name: projects/PROJECT/locations/REGION/endpoints/ID.
        root: where the run's records are kept; "" keeps none.
        endpoint: where it answers, the versions behind it and their traffic.
        machine_type: of each replica.
        traffic: percent of the requests; the first model gets all.
        min_replicas, max_replicas: at all times, and at most.
        labels: of the endpoint, for the bill.
        accelerator, accelerator_count: in each replica, or "" and 0.
        service_account: what the server runs as, or "".
        encryption_key: a key of Cloud KMS, or "".
        timeout_minutes: until the model answers.
    """
    from headrace.components.deploy.vertex import deploy as vertex

    config = vertex.DeployConfig(
        model=model,
        endpoint=endpoint_name,
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
    )
    vertex.run(config, root, endpoint)
