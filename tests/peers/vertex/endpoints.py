"""The endpoints of the test server: which models are deployed there, and how traffic is split among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as vertex
from peers.vertex.resources import Refusal, from_json, invalid, now, parse, to_json

if TYPE_CHECKING:
    from peers.vertex.service import Vertex


class Endpoints:
    """What is done with endpoints."""

    def __init__(self, service: Vertex) -> None:
        self._service = service

    def deploy(self, endpoint: Any, body: bytes) -> dict[str, Any]:
        """Begins a deployment."""
        request = parse(vertex.DeployModelRequest, body)
        deployed = request.deployed_model
        model = self._service.model(deployed.model)
        if not deployed.dedicated_resources.machine_spec.machine_type:
            raise invalid("deployed_model.dedicated_resources.machine_spec.machine_type must be given")
        deployed.id = deployed.id or str(self._service.number())
        deployed.model_version_id = model.version_id
        split = {deployed.id if key == "0" else key: share for key, share in request.traffic_split.items()}
        if split or not endpoint.deployed_models:
            check_traffic(split or {deployed.id: 100}, {m.id for m in endpoint.deployed_models} | {deployed.id})
        argument = {"endpoint": endpoint.name, "deployed": to_json(deployed), "split": split}
        return self._service.start("deploy", argument, "DeployModelResponse", parent=endpoint.name)

    def finish_deploy(self, argument: dict[str, Any]) -> Any:
        """Deploys a model."""
        endpoint = self._service.resources[argument["endpoint"]]
        deployed = from_json(vertex.DeployedModel, argument["deployed"])
        deployed.create_time = now()
        endpoint.deployed_models.append(deployed)
        if argument["split"]:
            endpoint.traffic_split = argument["split"]
        elif len(endpoint.deployed_models) == 1:
            endpoint.traffic_split = {deployed.id: 100}
        return vertex.DeployModelResponse(deployed_model=deployed)

    def undeploy(self, endpoint: Any, body: bytes) -> dict[str, Any]:
        """Begins to take a model away."""
        request = parse(vertex.UndeployModelRequest, body)
        gone = request.deployed_model_id
        remaining = {m.id for m in endpoint.deployed_models if m.id != gone}
        if len(remaining) == len(endpoint.deployed_models):
            raise Refusal(404, "NOT_FOUND", f"The DeployedModel {gone} does not exist.")
        split = dict(request.traffic_split) or {k: v for k, v in endpoint.traffic_split.items() if k != gone}
        if remaining or request.traffic_split:
            check_traffic(split, remaining)
        argument = {"endpoint": endpoint.name, "id": gone, "split": split}
        return self._service.start("undeploy", argument, "UndeployModelResponse", parent=endpoint.name)

    def finish_undeploy(self, argument: dict[str, Any]) -> Any:
        """Takes a model away."""
        endpoint = self._service.resources[argument["endpoint"]]
        endpoint.deployed_models = [m for m in endpoint.deployed_models if m.id != argument["id"]]
        endpoint.traffic_split = argument["split"]
        return vertex.UndeployModelResponse()


def open_endpoint(endpoint: Any, number: int) -> None:
    """Gives a dedicated endpoint its own host."""
    if endpoint.dedicated_endpoint_enabled:
        _, _, _, location, _, identifier = endpoint.name.split("/")
        endpoint.dedicated_endpoint_dns = f"{identifier}.{location}-{number}.prediction.vertexai.goog"


def check_traffic(split: Any, deployed: set[str]) -> None:
    """Refuses shares that do not sum to 100, or of what is not deployed."""
    unknown = sorted(set(split) - deployed)
    if unknown:
        raise invalid(f"traffic_split names {unknown[0]}, which is not deployed")
    if sum(split.values()) != 100:
        raise invalid(f"traffic_split must sum to 100, and sums to {sum(split.values())}")
