"""Opening of endpoints by name: a folder of this machine, a Vertex AI endpoint, or a KServe InferenceService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.components.deploy.base import Endpoint, ServiceEndpoint
from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.components.deploy.kserve.service import Services

_VERTEX, _KSERVE = "projects/", "kserve://"


def is_remote(name: str) -> bool:
    """Whether a name is that of an endpoint of a service, and not a folder of this machine."""
    return name.startswith((_VERTEX, _KSERVE))


def open_endpoint(name: str, *, registry: str = "") -> Endpoint:
    """Opens an endpoint. Only its first use checks whether it exists.

    Args:
        name: a folder, projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.
        registry: registry of its versions; "" for the one that the endpoint records. A folder ignores it.

    Raises:
        UsageError: the name is not valid, or credentials for the cluster are missing.
    """
    if is_remote(name):
        return open_service(name, registry=registry)
    from headrace.components.deploy.local.local_endpoint import LocalEndpoint

    return LocalEndpoint(name)


def open_service(name: str, *, registry: str = "") -> ServiceEndpoint:
    """Opens an endpoint of Vertex AI or KServe. Arguments and errors as of `open_endpoint`."""
    if name.startswith(_VERTEX):
        from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint

        return VertexEndpoint(name, registry=registry)
    if name.startswith(_KSERVE):
        from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint

        return KserveEndpoint(name, _cluster(), registry=registry)
    raise UsageError(
        "the endpoint is not of a service",
        where="endpoint",
        expected="projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME",
        received=repr(name),
    )


def _cluster() -> Services:
    """The client of the cluster of this pod; outside a pod, that of the user's kubeconfig."""
    from kubernetes import client, config

    from headrace.components.deploy.kserve.service import ClusterServices

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except config.ConfigException as error:
            raise UsageError(
                "credentials for the cluster are missing",
                where="kserve://",
                expected="a pod of the cluster, or a kubeconfig",
                received=str(error),
            ) from error
    return ClusterServices(client.CustomObjectsApi())
