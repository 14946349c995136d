"""Endpoints of this machine, of Vertex AI and of KServe as test cases: each with its registry and its real traffic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peers.kserve_cluster import KserveCluster
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.played_endpoint import play
from support.registered_models import make_model

from headrace.components.deploy.base import Endpoint
from headrace.components.deploy.kserve import deploy as kserve
from headrace.components.deploy.kserve.kserve_endpoint import KserveEndpoint
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy
from headrace.components.deploy.vertex import deploy as vertex
from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint
from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import Origin
from headrace.components.registry.vertex.register import UploadConfig, register
from headrace.components.registry.vertex.registry import VertexRegistry
from headrace.components.rollback.rollback import RollbackResult, rollback
from headrace.core import storage

A, B, C = "a" * 16, "b" * 16, "c" * 16
IMAGE = f"registry.example.com/headrace/server@sha256:{'3' * 64}"
BY = Origin("sre@host", "2026-01-01T00:00:00+00:00", "by hand")


@dataclass
class Case:
    """An endpoint of some kind with A, then B live, and its registry.

    Attributes:
        open: opens the endpoint, as another process would.
        add: registers a version and deploys it with a percentage of the traffic.
        served: the real traffic, by version.
    """

    open: Callable[[], Endpoint]
    add: Callable[[str, int], None]
    served: Callable[[], dict[str, int]]
    registry: ModelRegistry

    def rollback(self, **options: Any) -> RollbackResult:
        return rollback(self.open(), registry=self.registry.where, **options)


def local_case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    play(request.getfixturevalue("monkeypatch"))
    registry = Registry(str(tmp_path / "registry"))
    endpoint = str(tmp_path / "endpoint")

    def add(version: str, percent: int) -> None:
        assert percent == 100
        model = make_model(tmp_path / version, version)
        (tmp_path / version / "golden.json").write_text(json.dumps({"instances": [{}], "predictions": [{}]}))
        registry.register(model)
        registry.promote(version)
        deploy(LocalDeployConfig(registry.path(version), endpoint, name="natality"))

    def served() -> dict[str, int]:
        return dict(LocalEndpoint(endpoint).status().traffic)

    return Case(lambda: LocalEndpoint(endpoint), add, served, registry)


def vertex_case(request: pytest.FixtureRequest, tmp_path: Path, make: Callable[[Path, str], str] = make_model) -> Case:
    server: VertexServer = request.getfixturevalue("vertex_server")
    server.be_asked_from_here()
    bucket, entry, name = request.getfixturevalue("bucket"), f"{PARENT}/models/natality", f"{PARENT}/endpoints/natality"

    def add(version: str, percent: int) -> None:
        uri = f"gs://{bucket}/runs/{version}/model"
        storage.upload_folder(Path(make(tmp_path / version, version)), uri, "training.json")
        config = UploadConfig(registry=entry, model_uri=uri, version=version, serving_image=IMAGE)
        registered = register(config, f"gs://{bucket}/root", None, ["champion"] if percent == 100 else [])
        vertex.deploy(vertex.VertexDeployConfig(registered, name, "n1-standard-4", traffic=percent))

    def served() -> dict[str, int]:
        held = server.vertex.resources[name]
        versions = {one.id: {"1": A, "2": B, "3": C}[one.model_version_id] for one in held.deployed_models}
        return {versions[key]: percent for key, percent in held.traffic_split.items() if percent}

    return Case(lambda: VertexEndpoint(name), add, served, VertexRegistry(entry))


def kserve_case(
    request: pytest.FixtureRequest, tmp_path: Path, mode: str, make: Callable[[Path, str], str] = make_model
) -> Case:
    bucket, cluster = request.getfixturevalue("bucket"), KserveCluster()
    registry = Registry(f"gs://{bucket}/registry/natality")
    name = "kserve://models/natality"
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def opened() -> KserveEndpoint:
        return KserveEndpoint(name, cluster, clock=lambda: now[0], sleep=sleep)

    def add(version: str, percent: int) -> None:
        if version not in registry.state().versions:
            registry.register(make(tmp_path / version, version))
        if percent == 100:
            registry.promote(version)
        config = kserve.InferenceServiceConfig(IMAGE, traffic=percent, mode=mode)
        wanted = kserve.manifest(name, registry.path(version), version, config)
        kserve.apply(cluster, wanted, timeout_s=60.0, clock=lambda: now[0], sleep=sleep)
        opened().record(BY)

    def served() -> dict[str, int]:
        return {model.split("/versions/")[1].split("/")[0]: percent for model, percent in cluster.served().items()}

    return Case(opened, add, served, registry)


KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Case]] = {
    "local": local_case,
    "vertex": vertex_case,
    "kserve serverless": lambda request, path: kserve_case(request, path, "Serverless"),
    "kserve standard": lambda request, path: kserve_case(request, path, "Standard"),
}
