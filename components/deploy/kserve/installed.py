"""Installed KServe: what the CRD and the controller of a cluster know, as its API server publishes it.

Two documents are read that every account may read, so that a deployment needs no further permission: the OpenAPI schema
of InferenceServices, and the list of API groups. The default mode of the controller's ConfigMap is not: each
InferenceService names its mode, so that the default decides only where the controller does not know the name, which the
schema tells.
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

# The release of KServe that has the new names of the modes is the one whose predictors have this field, too.
_FIELD_OF_NEW_NAMES = "storageUris"
_KNATIVE_GROUP = "serving.knative.dev"


class KubernetesClient(Protocol):
    """Requests of the API server, as of `kubernetes.client.ApiClient`."""

    def call_api(self, resource_path: str, method: str, **options: Any) -> Any: ...


@dataclass(frozen=True)
class KserveFeatures:
    """What a cluster's KServe knows; None where the cluster does not say.

    Attributes:
        canary: whether an InferenceService has spec.canary (KServe 0.20 and newer).
        new_names: whether the modes are Standard and Knative (KServe 0.16 and newer), or RawDeployment and Serverless.
        knative: whether Knative Serving is installed.
    """

    canary: bool | None = None
    new_names: bool | None = None
    knative: bool | None = None

    @property
    def unknown(self) -> str:
        """What the cluster does not say, in words; "" for nothing."""
        parts = {
            "the fields of InferenceServices": self.canary,
            "the names of the modes": self.new_names,
            "whether it has Knative Serving": self.knative,
        }
        return ", ".join(name for name, known in parts.items() if known is None)


def installed(client: KubernetesClient, timeout_s: float = REQUEST_TIMEOUT_S) -> KserveFeatures:
    """Reads what a cluster's KServe knows.

    Args:
        client: of its API server. What an API server refuses to say, or an old one does not have, is unknown.
        timeout_s: of a request, in seconds.

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
    """A manifest with the mode by the name that the cluster's KServe knows.

    An unknown name is no error there: the InferenceService gets the controller's default mode without a word.

    Args:
        wanted: the manifest.
        known: of the cluster.
        where: the object, for messages.

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
    """A JSON document of the API server; empty where there is none, or the account may not read it."""
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
    """Fields of the spec of an InferenceService; empty where the schema has none, as of KServe's small CRD."""
    schemas = document.get("components", {}).get("schemas", {})
    service = next((one for name, one in schemas.items() if name.endswith(f".{API_VERSION}.InferenceService")), None)
    return _properties_of(_properties_of(service).get("spec"))


def _properties_of(schema: Any) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}
