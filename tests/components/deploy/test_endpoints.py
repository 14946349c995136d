"""Endpoints of this machine, of Vertex AI and of KServe: one story, told alike of all of them."""

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
from headrace.components.deploy.local.publisher import DeployConfig, deploy
from headrace.components.deploy.vertex import deploy as vertex
from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint
from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import Origin
from headrace.components.registry.vertex.register import UploadConfig, register
from headrace.components.registry.vertex.registry import VertexRegistry
from headrace.components.rollback.rollback import RollbackResult, rollback
from headrace.core import storage
from headrace.core.errors import GateRefused, PlatformError, UsageError

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


def local(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    play(request.getfixturevalue("monkeypatch"))
    registry = Registry(str(tmp_path / "registry"))
    endpoint = str(tmp_path / "endpoint")

    def add(version: str, percent: int) -> None:
        assert percent == 100
        model = make_model(tmp_path / version, version)
        (tmp_path / version / "golden.json").write_text(json.dumps({"instances": [{}], "predictions": [{}]}))
        registry.register(model)
        registry.promote(version)
        deploy(DeployConfig(registry.path(version), endpoint, name="natality"))

    def served() -> dict[str, int]:
        return dict(LocalEndpoint(endpoint).status().traffic)

    return Case(lambda: LocalEndpoint(endpoint), add, served, registry)


def on_vertex(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    server: VertexServer = request.getfixturevalue("vertex_server")
    server.be_asked_from_here()
    bucket, entry, name = request.getfixturevalue("bucket"), f"{PARENT}/models/natality", f"{PARENT}/endpoints/natality"

    def add(version: str, percent: int) -> None:
        uri = f"gs://{bucket}/runs/{version}/model"
        storage.upload_folder(Path(make_model(tmp_path / version, version)), uri, "training.json")
        config = UploadConfig(registry=entry, model_uri=uri, version=version, serving_image=IMAGE)
        registered = register(config, f"gs://{bucket}/root", None, ["champion"] if percent == 100 else [])
        vertex.deploy(vertex.DeployConfig(registered, name, "n1-standard-4", traffic=percent))

    def served() -> dict[str, int]:
        held = server.vertex.resources[name]
        versions = {one.id: {"1": A, "2": B, "3": C}[one.model_version_id] for one in held.deployed_models}
        return {versions[key]: percent for key, percent in held.traffic_split.items() if percent}

    return Case(lambda: VertexEndpoint(name), add, served, VertexRegistry(entry))


def on_kserve(request: pytest.FixtureRequest, tmp_path: Path, mode: str) -> Case:
    bucket, cluster = request.getfixturevalue("bucket"), KserveCluster()
    registry = Registry(f"gs://{bucket}/registry/natality")
    name = "kserve://models/natality"
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def opened() -> KserveEndpoint:
        return KserveEndpoint(name, cluster, clock=lambda: now[0], sleep=sleep)

    def add(version: str, percent: int) -> None:
        registry.register(make_model(tmp_path / version, version))
        if percent == 100:
            registry.promote(version)
        config = kserve.ServiceConfig(IMAGE, traffic=percent, mode=mode)
        wanted = kserve.manifest(name, registry.path(version), version, config)
        kserve.apply(cluster, wanted, timeout_s=60.0, clock=lambda: now[0], sleep=sleep)
        opened().record(BY)

    def served() -> dict[str, int]:
        return {model.split("/versions/")[1].split("/")[0]: percent for model, percent in cluster.served().items()}

    return Case(opened, add, served, registry)


KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Case]] = {
    "local": local,
    "vertex": on_vertex,
    "kserve serverless": lambda request, path: on_kserve(request, path, "Serverless"),
    "kserve standard": lambda request, path: on_kserve(request, path, "Standard"),
}


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made = KINDS[request.param](request, tmp_path)
    made.add(A, 100)
    made.add(B, 100)
    return made


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def split(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A live, B with 20 % of the traffic."""
    made = KINDS[request.param](request, tmp_path)
    made.add(A, 100)
    made.add(B, 20)
    return made


def test_a_rollback_reaches_traffic_and_aliases_and_twice_is_once(case: Case) -> None:
    assert (case.served(), case.registry.aliases()["champion"]) == ({B: 100}, B)
    assert dict(case.open().status().traffic) == {B: 100}
    assert case.open().status().ready
    result = case.rollback(why="pager")
    assert (result.version, result.bad) == (A, B)
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})
    state = case.open().state()
    assert (state.live, state.previous, sorted(state.bad), state.pending) == (A, None, [B], None)
    last = case.open().history()[-1]
    assert (last.action, last.version, last.why, dict(last.traffic)) == ("rollback", A, "pager", {A: 100})
    with pytest.raises(GateRefused, match="the version is marked as bad"):
        case.registry.promote(B)
    again = case.rollback()
    assert (again.version, again.bad) == (A, "")
    assert (case.served(), case.open().state()) == ({A: 100}, state)
    # A later version is live, and the way back does not lead to the bad one.
    case.add(C, 100)
    assert case.served() == {C: 100}
    assert case.rollback().version == A
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})


def test_killed_between_traffic_and_registry_it_is_finished(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("headrace.components.deploy.registries.mark_bad", _fails)
        with pytest.raises(PlatformError, match="half-finished"):
            case.rollback(why="pager")
    assert (case.served(), case.registry.aliases()["champion"]) == ({A: 100}, B)
    pending = case.open().state().pending
    assert pending is not None
    assert (pending.version, pending.bad, pending.why) == (A, B, "pager")
    result = case.rollback()
    assert (result.version, result.bad) == (A, B)
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})
    assert case.open().state().pending is None


def _fails(*_: object) -> str:
    raise PlatformError("the service failed")


def test_promote_goes_forward_and_marks_nothing(case: Case) -> None:
    endpoint = case.open()
    with endpoint.changing():
        pass
    endpoint.promote(A, BY, lambda *_, **__: None)
    state = case.open().state()
    assert (case.served(), state.live, state.previous, dict(state.bad)) == ({A: 100}, A, B, {})
    assert (state.history[-1].action, state.history[-1].why) == ("promote", "by hand")
    with pytest.raises(UsageError, match="the version has traffic"):
        case.open().undeploy(A)
    case.open().undeploy(C)


def test_a_version_that_is_not_there(case: Case) -> None:
    before = case.open().state()
    with pytest.raises(UsageError, match=r"is not deployed|does not exist|is not known"):
        case.rollback(to=C)
    assert case.open().state() == before
    assert case.served() == {B: 100}


def test_two_changes_at_once(case: Case) -> None:
    one, other = case.open(), case.open()
    first, second = one.state(), other.state()
    one.write(first.marked_bad(C, BY), first)
    with pytest.raises(PlatformError, match="another process changed the endpoint at the same time"):
        other.write(second.marked_bad(A, BY), second)
    assert sorted(case.open().state().bad) == [C]


def test_a_canary_is_left_for_the_live_version(split: Case) -> None:
    assert split.served() == {A: 80, B: 20}
    state = split.open().state()
    assert (state.live, dict(state.traffic)) == (A, {A: 80, B: 20})
    result = split.rollback()
    assert (result.version, result.bad) == (A, B)
    assert (split.served(), split.registry.aliases()) == ({A: 100}, {"champion": A})
    assert split.rollback().bad == ""


def test_a_canary_is_promoted(split: Case) -> None:
    split.open().promote(B, BY, lambda *_, **__: None)
    assert split.served() == {B: 100}
    state = split.open().state()
    assert (state.live, state.previous) == (B, A)
    assert split.rollback().version == A
    assert split.served() == {A: 100}
