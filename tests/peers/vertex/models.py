"""The models of the test server: uploads, versions and aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as vertex
from peers.vertex.resources import KINDS, Refusal, from_json, now, parse, to_json

if TYPE_CHECKING:
    from peers.vertex.service import Vertex


class Models:
    """What is done with models; `versions` holds them by name and then version."""

    def __init__(self, service: Vertex) -> None:
        self._service = service
        self.versions: dict[str, dict[str, Any]] = {}

    def find(self, name: str) -> Any:
        """A model by its name, perhaps with @VERSION or @ALIAS.

        Raises:
            Refusal: there is none.
        """
        plain, _, version = name.partition("@")
        if plain not in self.versions:
            raise Refusal(404, "NOT_FOUND", f"The Model {name} does not exist.")
        for number, model in self.versions[plain].items():
            if (version or "default") in (number, *model.version_aliases):
                return model
        raise Refusal(404, "NOT_FOUND", f"The Model version {name} does not exist.")

    def upload(self, parent: str, body: bytes) -> dict[str, Any]:
        """Begins an upload."""
        request = parse(vertex.UploadModelRequest, body)
        KINDS["models"].check(request.model)
        name = request.parent_model.partition("@")[0]
        if name and name not in self.versions:
            raise Refusal(404, "NOT_FOUND", f"The Model {request.parent_model} does not exist.")
        if not name:
            name = f"{parent}/models/{request.model_id or self._service.number()}"
            if name in self.versions:
                raise Refusal(409, "ALREADY_EXISTS", f"{name} already exists")
        argument = {"name": name, "model": to_json(request.model)}
        return self._service.start("upload", argument, "UploadModelResponse", parent=name)

    def finish_upload(self, argument: dict[str, Any]) -> Any:
        """Makes a version of what was uploaded."""
        name, model = argument["name"], from_json(vertex.Model, argument["model"])
        held = self.versions.setdefault(name, {})
        model.name, model.version_id = name, str(len(held) + 1)
        model.supported_deployment_resources_types = [vertex.Model.DeploymentResourcesType.DEDICATED_RESOURCES]
        model.supported_input_storage_formats = ["jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip"]
        model.supported_output_storage_formats = ["jsonl", "bigquery"]
        model.create_time = model.update_time = model.version_create_time = now()
        aliases = list(model.version_aliases)
        if not held and "default" not in aliases:
            aliases.append("default")
        held[model.version_id] = model
        for alias in aliases:
            self._move_alias(name, model.version_id, alias)
        self._service.resources[name] = next(m for m in held.values() if "default" in m.version_aliases)
        return vertex.UploadModelResponse(model=name, model_version_id=model.version_id)

    def list_versions(self, model: Any) -> dict[str, Any]:
        """All versions of a model."""
        return {"models": [to_json(held) for held in self.versions[model.name].values()]}

    def merge_aliases(self, model: Any, body: bytes) -> dict[str, Any]:
        """Gives a version aliases, or takes those that begin with a minus."""
        for alias in parse(vertex.MergeVersionAliasesRequest, body).version_aliases:
            if alias.startswith("-"):
                model.version_aliases = [held for held in model.version_aliases if held != alias[1:]]
            else:
                self._move_alias(model.name, model.version_id, alias)
        return to_json(model)

    def _move_alias(self, name: str, version: str, alias: str) -> None:
        for number, model in self.versions[name].items():
            aliases = [a for a in model.version_aliases if a != alias]
            model.version_aliases = [*aliases, alias] if number == version else aliases
