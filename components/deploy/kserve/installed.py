"""Installed KServe: features of a cluster's CRD and controller, from documents that its API server publishes.

Every account may read these documents, so that a deployment needs no further permission: the OpenAPI schema of
InferenceServices, and the list of API groups. The controller's ConfigMap, with the default mode, is not read. Each
InferenceService names its mode, so the default applies only if the controller does not know the name, and the schema
shows which names it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.components.deploy.kserve.canary import no_canary
from headrace.components.deploy.kserve.service import (
    API_VERSION,
    CANARY,
    GROUP,
    KNATIVE,
    MODE,
    REQUEST_TIMEOUT_S,
    mode_of,
    old_name_of,
    translate_errors,
)
from headrace.core.errors import UsageError

# The KServe release that introduced the new names of the modes also introduced this field of predictors.
_FIELD_OF_NEW_NAMES = "storageUris"
_KNATIVE_GROUP = "serving.knative.dev"


class KubernetesClient(Protocol):
    """Client of the API server, such as `kubernetes.client.ApiClient`."""

    def call_api(self, resource_path: str, method: str, **options: Any) -> Any: ...


@dataclass(frozen=True)
class KserveFeatures:
    """Features of a cluster's KServe; None if the cluster does not report a feature.

    Attributes:
        canary: whether an InferenceService has spec.canary (KServe 0.20 or later).
        new_names: whether the modes are Standard and Knative (KServe 0.16 or later), or RawDeployment and Serverless.
        knative: whether Knative Serving is installed.
    """

    canary: bool | None = None
    new_names: bool | None = None
    knative: bool | None = None

    @property
    def unknown(self) -> str:
        """The features that the cluster does not report, as text; "" if it reports all."""
        parts = {
            "the fields of InferenceServices": self.canary,
            "the names of the modes": self.new_names,
            "whether it has Knative Serving": self.knative,
        }
        return ", ".join(name for name, known in parts.items() if known is None)


def installed(client: KubernetesClient, timeout_s: float = REQUEST_TIMEOUT_S) -> KserveFeatures:
    """Reads the features of a cluster's KServe. Those that the API server refuses or lacks are None.

    Args:
        client: client of the API server.
        timeout_s: timeout per request, in seconds.

    Raises:
        PlatformError: the API server failed, or did not respond.
    """
    spec = _properties(_read(client, f"/openapi/v3/apis/{GROUP}/{API_VERSION}", timeout_s))
    predictor = _properties_of(spec.get("predictor"))
    groups = _read(client, "/apis", timeout_s).get("groups")
    names = [one.get("name") for one in groups] if isinstance(groups, list) else None
    return KserveFeatures(
        canary=CANARY in spec if predictor else None,
        new_names=_FIELD_OF_NEW_NAMES in predictor if predictor else None,
        knative=None if names is None else _KNATIVE_GROUP in names,
    )


def fitted(wanted: Mapping[str, Any], known: KserveFeatures, where: str) -> dict[str, Any]:
    """The manifest with the name of the mode that the cluster's KServe knows.

    KServe does not reject an unknown name: the InferenceService silently gets the controller's default mode.

    Args:
        wanted: the manifest.
        known: features of the cluster.
        where: the object, for errors.

    Raises:
        UsageError: the cluster has no canaries of the Standard mode, or no Knative Serving.
    """
    annotations = wanted["metadata"]["annotations"]
    mode = mode_of(annotations[MODE])
    if mode == KNATIVE and known.knative is False:
        raise UsageError(
            "the cluster has no Knative Serving",
            where=where,
            expected=f'API group {_KNATIVE_GROUP}, or mode = "Standard"',
            received=f'mode = "{annotations[MODE]}"',
            fix="Install Knative Serving, or deploy in the Standard mode",
        )
    if CANARY in wanted["spec"] and known.canary is False:
        raise no_canary(where)
    name = annotations[MODE] if known.new_names is None else mode if known.new_names else old_name_of(mode)
    return {**wanted, "metadata": {**wanted["metadata"], "annotations": {**annotations, MODE: name}}}


def _read(client: KubernetesClient, path: str, timeout_s: float) -> Mapping[str, Any]:
    """A JSON document of the API server; empty if it does not exist or the account may not read it."""
    from kubernetes.client import ApiException

    with translate_errors(path):
        try:
            found = client.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=(timeout_s, timeout_s),
            )
        except ApiException as error:
            if error.status in (401, 403, 404, 406):
                return {}
            raise
    return found if isinstance(found, dict) else {}


def _properties(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields of the spec of an InferenceService; empty if the schema has none, as in KServe's small CRD."""
    schemas = document.get("components", {}).get("schemas", {})
    service = next((one for name, one in schemas.items() if name.endswith(f".{API_VERSION}.InferenceService")), None)
    return _properties_of(_properties_of(service).get("spec"))


def _properties_of(schema: Any) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}
