"""An API server of Kubernetes with KServe, over HTTP: what `kubernetes.client` sends, and the Status that it gets.

Beside InferenceServices it publishes the OpenAPI schema of their CRD and the API groups. As a real one it takes a patch
of a custom resource as JSON Patch or as a merge patch only, and answers a small CRD without fields of the spec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes.client import ApiClient, ApiException, Configuration, CustomObjectsApi
from peers.kserve_cluster import SCHEMA, KserveCluster
from peers.rest import RestServer, answering

_OBJECTS = re.compile(r"apis/serving\.kserve\.io/v1beta1/namespaces/([^/]+)/inferenceservices(?:/([^/]+))?\Z")
_GROUPS = ("apps", "apiextensions.k8s.io", "serving.kserve.io")


class KserveApi(RestServer):
    """A running API server.

    Args:
        cluster: its objects.
        release: of KServe, as 15 for 0.15.
        knative: whether Knative Serving is installed.
        small: whether the CRD is the small one of KServe, which has no fields.
        forbidden: paths that the account may not read.
    """

    def __init__(
        self,
        cluster: KserveCluster,
        *,
        release: int = 20,
        knative: bool = True,
        small: bool = False,
        forbidden: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.cluster, self.release, self.knative, self.small, self.forbidden = (
            cluster,
            release,
            knative,
            small,
            forbidden,
        )

    @contextmanager
    def running(self) -> Iterator[CustomObjectsApi]:
        """Runs it, with a client of it."""
        with answering(self, self._answer, _status):
            configuration = Configuration(host=self.url)
            configuration.retries = False
            yield CustomObjectsApi(ApiClient(configuration))

    def _answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes | str]:
        try:
            return 200, json.dumps(self._found(method, path, body)).encode()
        except ApiException as error:
            return error.status, _status(error.status, error.reason)

    def _found(self, method: str, path: str, body: bytes) -> Any:
        if f"/{path}" in self.forbidden:
            raise ApiException(status=403, reason="Forbidden")
        if path == "apis" and method == "GET":
            names = [*_GROUPS, *(["serving.knative.dev"] if self.knative else [])]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": name} for name in names]}
        if path == "openapi/v3/apis/serving.kserve.io/v1beta1" and method == "GET":
            return {"openapi": "3.0.0", "components": {"schemas": {_NAME: self._schema()}}}
        found = _OBJECTS.match(path)
        if found is None:
            raise ApiException(status=404, reason="NotFound")
        address = ("serving.kserve.io", "v1beta1", found[1], "inferenceservices")
        if method == "GET":
            return self.cluster.get_namespaced_custom_object(*address, str(found[2]))
        if method == "POST":
            return self.cluster.create_namespaced_custom_object(*address, json.loads(body))
        if method == "PATCH":
            if self.content_types[-1] != "application/merge-patch+json":
                raise ApiException(status=415, reason="UnsupportedMediaType")
            return self.cluster.patch_namespaced_custom_object(*address, str(found[2]), json.loads(body))
        raise ApiException(status=405, reason="MethodNotAllowed")

    def _schema(self) -> dict[str, Any]:
        if self.small:
            return {"properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
        spec = dict(SCHEMA["properties"]["spec"]["properties"])
        if self.release < 20:
            del spec["canary"]
        predictor = dict(spec["predictor"]["properties"])
        if self.release >= 16:
            predictor["storageUris"] = {"type": "array"}
        spec["predictor"] = {"type": "object", "properties": predictor}
        return {"properties": {"spec": {"type": "object", "properties": spec}}}


_NAME = "io.kserve.serving.v1beta1.InferenceService"


def _status(code: int, message: str) -> bytes:
    """A Status of Kubernetes."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return json.dumps(status).encode()
