"""A cluster with KServe, as far as its API server and controller treat InferenceServices: the CRD's schema, merge
patches, resource versions, revisions of Knative and their traffic, and canaries of the Standard mode."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes.client import ApiException

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "components" / "deploy" / "kserve" / "inference_service.schema.json").read_text()
)
_MODE = "serving.kserve.io/deploymentMode"
_NEW_NAMES = {"RawDeployment": "Standard", "Serverless": "Knative"}


class KserveCluster:
    """Holds one InferenceService; its controller acts when it has been looked at some times.

    Args:
        looks: after how many looks a change is served.
        release: of KServe: before 20 it drops spec.canary, before 16 it does not know Standard.
    """

    def __init__(self, *, looks: int = 2, release: int = 20) -> None:
        self.held: dict[str, Any] | None = None
        self.patches: list[dict[str, Any]] = []
        self._looks, self._release = looks, release
        self._left = 0
        self._revisions: list[tuple[str, dict[str, Any]]] = []

    def get_namespaced_custom_object(self, *address: str) -> Any:
        held = self._existing()
        assert address[-1] == held["metadata"]["name"]
        self._left -= 1
        if self._left <= 0:
            self._reconcile(held)
        return copy.deepcopy(held)

    def create_namespaced_custom_object(self, *address: str) -> Any:
        body: Any = copy.deepcopy(address[-1])
        assert self.held is None
        self._store(body, {"generation": 0, "resourceVersion": "0"})
        return copy.deepcopy(self.held)

    def patch_namespaced_custom_object(self, *address: str) -> Any:
        body: Any = copy.deepcopy(address[-1])
        self.patches.append(body)
        held = self._existing()
        wanted = body["metadata"].pop("resourceVersion", None)
        if wanted is not None and wanted != held["metadata"]["resourceVersion"]:
            raise ApiException(status=409, reason="Conflict")
        merged = _merged({name: value for name, value in held.items() if name != "status"}, body)
        meta = {name: merged["metadata"].pop(name) for name in ("generation", "resourceVersion")}
        self._store(merged, meta, held.get("status"))
        return copy.deepcopy(self.held)

    def served(self) -> dict[str, int]:
        """Percentage of the requests by STORAGE_URI, as the cluster routes them."""
        held = self._existing()
        self._reconcile(held)
        shares: dict[str, int] = {}
        targets = held["status"]["components"]["predictor"].get("traffic", [])
        revisions = dict(self._revisions)
        for one in targets:
            model = _model(revisions[one["revisionName"]])
            shares[model] = shares.get(model, 0) + one["percent"]
        if not targets:
            shares = {_model(one["predictor"]): one["trafficPercent"] for one in held["spec"].get("canary", [])}
            shares[_model(held["spec"]["predictor"])] = 100 - sum(shares.values())
        return {model: percent for model, percent in shares.items() if percent}

    def _existing(self) -> dict[str, Any]:
        if self.held is None:
            raise ApiException(status=404, reason="Not Found")
        return self.held

    def _store(self, body: dict[str, Any], meta: dict[str, Any], status: Any = None) -> None:
        jsonschema.validate(body, SCHEMA)
        if self._release < 20:
            body["spec"].pop("canary", None)
        if self._release >= 16:
            annotations = body["metadata"]["annotations"]
            annotations[_MODE] = _NEW_NAMES.get(annotations[_MODE], annotations[_MODE])
        if body["spec"].get("canary"):
            self._check_canaries(body)
        changed = self.held is None or body["spec"] != self.held["spec"]
        numbers = {
            "generation": meta["generation"] + changed,
            "resourceVersion": str(int(meta["resourceVersion"]) + 1),
        }
        self.held = {**body, "metadata": {**body["metadata"], **numbers}, **({"status": status} if status else {})}
        if changed:
            self._left = self._looks

    def _check_canaries(self, body: dict[str, Any]) -> None:
        """As validateCanarySpecs of KServe 0.20."""
        stable, entries = body["spec"]["predictor"], body["spec"]["canary"]
        if body["metadata"]["annotations"][_MODE] != "Standard":
            raise ApiException(status=400, reason="canary is only supported in Standard deployment mode")
        names = [one["predictor"]["name"] for one in entries]
        if stable.get("name") in names or len({*names}) < len(names):
            raise ApiException(status=400, reason="canary predictor.name conflicts with stable predictor name")
        assert sum(one["trafficPercent"] for one in entries) <= 100
        assert all("maxReplicas" not in one["predictor"] for one in entries)
        assert all(one["predictor"].get("minReplicas", 1) <= stable.get("minReplicas", 1) for one in entries)

    def _reconcile(self, held: dict[str, Any]) -> None:
        mode = held["metadata"]["annotations"].get(_MODE, "")
        if mode not in (("RawDeployment", "Serverless") if self._release < 16 else ("Standard", "Knative")):
            mode = "Serverless"
        knative = mode in ("Serverless", "Knative")
        status = held.setdefault("status", {})
        status["observedGeneration"] = held["metadata"]["generation"]
        status["url"] = "http://natality.models.example.com"
        status["deploymentMode"] = mode
        status["conditions"] = [{"type": "Ready", "status": "True"}]
        part = status.setdefault("components", {}).setdefault("predictor", {})
        if knative:
            self._serverless(held["spec"]["predictor"], part)
        else:
            status["canaryStatuses"] = [
                {"name": one["predictor"]["name"], "ready": True, "trafficPercent": one["trafficPercent"]}
                for one in held["spec"].get("canary", [])
            ]

    def _serverless(self, predictor: dict[str, Any], part: dict[str, Any]) -> None:
        """As ksvc_reconciler.go and PropagateStatus of KServe do."""
        template = {name: value for name, value in predictor.items() if name != "canaryTrafficPercent"}
        if not self._revisions or self._revisions[-1][1] != template:
            self._revisions.append((f"natality-predictor-{len(self._revisions) + 1:05}", template))
        latest = self._revisions[-1][0]
        part["latestCreatedRevision"] = part["latestReadyRevision"] = latest
        percent, stable = predictor.get("canaryTrafficPercent"), part.get("latestRolledoutRevision", "")
        if percent is None or not stable:
            part["traffic"] = [{"revisionName": latest, "percent": 100, "latestRevision": True}]
        else:
            part["traffic"] = [
                {"revisionName": latest, "percent": percent, "latestRevision": True},
                {"revisionName": stable, "percent": 100 - percent, "latestRevision": False, "tag": "prev"},
            ]
        if part["traffic"][0]["percent"] == 100 and stable != latest:
            part["previousRolledoutRevision"], part["latestRolledoutRevision"] = stable, latest


def _merged(held: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(held) if isinstance(held, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _model(predictor: dict[str, Any]) -> str:
    (container,) = predictor["containers"]
    return str(next(one["value"] for one in container["env"] if one["name"] == "STORAGE_URI"))
