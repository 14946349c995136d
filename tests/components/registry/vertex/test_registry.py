"""Vertex AI's Model Registry with records, marks and history: real requests of the SDKs to servers on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.ledgers import REFUSED, ended
from support.registered_models import make_evaluation, make_model

from headrace.components.deploy.vertex import step
from headrace.components.deploy.vertex.deploy import VertexDeployConfig
from headrace.components.registry.vertex import lookup
from headrace.components.registry.vertex.register import UploadConfig, register, run, upload
from headrace.components.registry.vertex.registry import VertexRegistry, service_of
from headrace.core import storage
from headrace.core.errors import DataError, GateRefused, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.state import Overtaken
from headrace.core.steps import identity
from headrace.core.steps.step import read_record

ENTRY = f"{PARENT}/models/natality"
IMAGE = f"europe-docker.pkg.dev/my-project/headrace/server@sha256:{'3' * 64}"
Register = Callable[..., str]


@pytest.fixture
def server(vertex_server: VertexServer) -> VertexServer:
    vertex_server.be_asked_from_here()
    return vertex_server


@pytest.fixture
def add(server: VertexServer, bucket: str, tmp_path: Path) -> Register:
    """Registers a version as a task of a pipeline does."""

    def registered(version: str, *aliases: str, root: str = f"gs://{bucket}/root", blessed: bool = True) -> str:
        uri = f"gs://{bucket}/runs/{version}/model"
        if not storage.exists(uri):
            local = Path(make_model(tmp_path / version, version, problem="natality", data="e1"))
            storage.upload_folder(local, uri, "training.json")
        judged = json.dumps({"model_version": version, "blessed": blessed, "metrics": {"auc": {"value": 0.75}}})
        return register(config(uri, version), root, judged.encode(), aliases)

    return registered


def config(uri: str, version: str) -> UploadConfig:
    return UploadConfig(registry=ENTRY, model_uri=uri, version=version, serving_image=IMAGE)


def aliases(server: VertexServer) -> dict[str, str]:
    """The number of the version with each alias, in the service; the SDK gives each upload the alias default."""
    versions = server.vertex.versions[ENTRY].items()
    return {alias: number for number, held in versions for alias in held.version_aliases if alias != "default"}


def test_a_registration_has_a_record_and_a_history(add: Register, server: VertexServer, bucket: str) -> None:
    assert add("a" * 16, "champion") == f"{ENTRY}@1"
    assert add("b" * 16, "champion", "candidate") == f"{ENTRY}@2"
    assert add("b" * 16, "champion", "candidate") == f"{ENTRY}@2"
    registry = VertexRegistry(ENTRY)
    state = registry.state()
    assert state.aliases == {"candidate": "b" * 16, "champion": "b" * 16, "previous": "a" * 16}
    assert [(change.action, change.version[0]) for change in state.history] == [
        ("register", "a"),
        ("promote", "a"),
        ("register", "b"),
        ("promote", "b"),
        ("alias", "b"),
    ]
    assert aliases(server) == {"previous": "1", "champion": "2", "candidate": "2"}
    assert storage.exists(f"gs://{bucket}/root/registry/natality/registry.json")
    record = registry.record("b" * 16)
    assert (record["data"], record["metrics"], record["approval"]) == ("e1", {"auc": 0.75}, "blessed")
    assert "saved_model/variables/variables.data" in record["files"]
    assert registry.differences() == []


def test_promotion_and_marks(add: Register, server: VertexServer, tmp_path: Path) -> None:
    first, second, third = "a" * 16, "b" * 16, "c" * 16
    for version in (first, second, third):
        add(version, "champion")
    registry = VertexRegistry(ENTRY, who="ann")
    assert registry.promote(first, why="again") == {"champion": first, "previous": third}
    assert (aliases(server)["champion"], aliases(server)["previous"]) == ("1", "3")
    state = registry.mark_bad(first, why="nonsense")
    assert state.aliases == {"champion": third}
    assert aliases(server) == {"champion": "3"}
    before = list(server.requests)
    for call in (
        lambda: add(first, "champion"),
        lambda: registry.promote(first),
        lambda: lookup.champion(ENTRY, str(tmp_path), first),
    ):
        with pytest.raises((GateRefused, SystemExit)) as refused:
            call()
        assert isinstance(refused.value, GateRefused) or refused.value.code == 3
    record = read_record(str(tmp_path), "champion", identity.champion_identity(ENTRY, first))
    assert record is not None
    assert record["error"]["received"].startswith("bad by ann, ")
    assert not any("mergeVersionAliases" in request for request in server.requests[len(before) :])
    assert registry.state() == state
    registry.archive(second, why="old")
    with pytest.raises(UsageError, match="the version is archived"):
        registry.promote(second)
    registry.restore(second)
    registry.promote(second)
    assert lookup.champion(ENTRY, str(tmp_path), "")[1] == f"{ENTRY}@2"


def test_a_damaged_version_is_neither_promoted_nor_deployed(
    add: Register, server: VertexServer, bucket: str, tmp_path: Path
) -> None:
    name = add("a" * 16)
    storage.write_bytes(f"gs://{bucket}/runs/{'a' * 16}/model/saved_model/saved_model.pb", b"grapf")
    with pytest.raises(DataError, match=r"saved_model\.pb.*damaged.*or train again"):
        VertexRegistry(ENTRY).promote("a" * 16)
    assert aliases(server) == {}
    endpoint = f"{PARENT}/endpoints/natality"
    with pytest.raises(SystemExit) as ended:
        step.run(VertexDeployConfig(name, endpoint, "n1-standard-4"), str(tmp_path), object())
    assert ended.value.code == 2
    assert endpoint not in server.vertex.resources


def test_a_run_that_is_overtaken_registers_nothing(
    add: Register, server: VertexServer, bucket: str, tmp_path: Path
) -> None:
    claim, version = ended(str(tmp_path / "ledger")), "b" * 16
    add("a" * 16, "champion")
    uri, before = f"gs://{bucket}/runs/{version}/model", VertexRegistry(ENTRY).state()
    storage.upload_folder(Path(make_model(tmp_path / version, version)), uri, "training.json")
    sent = len(server.requests)
    with pytest.raises(Overtaken):
        register(config(uri, version), f"gs://{bucket}/root", None, ["champion"], claim)
    assert server.requests[sent:] == []
    assert not storage.exists(f"{uri}/registered.json")
    # Also where that happens between the upload and its record.
    with pytest.raises(Overtaken):
        VertexRegistry(ENTRY, claim=claim).registered("a" * 16, "1", "d" * 64, "blessed", ["challenger"], "")
    assert (VertexRegistry(ENTRY).state(), aliases(server)) == (before, {"champion": "1"})


@pytest.mark.parametrize(("refused", "error"), REFUSED)
def test_a_run_that_may_not_begin_registers_and_deploys_nothing(
    add: Register, server: VertexServer, bucket: str, tmp_path: Path, refused: Callable[[str], Claim], error: str
) -> None:
    name, root = add("a" * 16), str(tmp_path / "root")
    claim = refused(str(tmp_path / "ledger")).to_json()
    folder = Path(make_model(tmp_path / "model", "b" * 16))
    model = SimpleNamespace(uri=f"gs://{bucket}/runs/{'b' * 16}/model", path=str(folder))
    storage.upload_folder(folder, model.uri, "training.json")
    evaluation = SimpleNamespace(uri="", path=make_evaluation(tmp_path / "evaluation", "b" * 16))
    versions, endpoint = dict(server.vertex.versions[ENTRY]), f"{PARENT}/endpoints/natality"
    for task, version, call in (
        ("register", "b" * 16, lambda: run(ENTRY, root, model, evaluation, IMAGE, [], {}, "", "enforce", claim)),
        (
            "deploy",
            "a" * 16,
            lambda: step.run(VertexDeployConfig(name, endpoint, "n1-standard-4"), root, object(), claim),
        ),
    ):
        with pytest.raises(SystemExit):
            call()
        target = ENTRY if task == "register" else endpoint
        record = read_record(root, task, identity.publish_identity(task, version, target))
        assert record is not None
        assert record["error"]["what"] == error
    assert dict(server.vertex.versions[ENTRY]) == versions
    assert endpoint not in server.vertex.resources


def test_a_killed_change_is_completed_by_the_next(
    add: Register, server: VertexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = "a" * 16, "b" * 16
    add(first, "champion")
    add(second)
    registry = VertexRegistry(ENTRY)
    server.fail("POST .*mergeVersionAliases", 403, times=100)
    with pytest.raises(UsageError, match="access is denied"):
        registry.promote(second)
    server.faults.clear()
    assert registry.aliases()["champion"] == second
    assert aliases(server)["champion"] == "1"
    told = registry.differences()
    assert told[0] == (
        f"Vertex AI's alias champion is on {first}, and not on {second}: the next change here corrects it"
    )
    registry.promote(second)
    assert aliases(server)["champion"] == "2"
    assert registry.differences() == []
    assert len(registry.state().history) == 4


def test_an_upload_that_was_killed_before_it_was_recorded(add: Register, bucket: str, tmp_path: Path) -> None:
    version = "a" * 16
    uri = f"gs://{bucket}/runs/{version}/model"
    storage.upload_folder(Path(make_model(tmp_path / "model", version)), uri, "training.json")
    upload(config(uri, version))
    assert VertexRegistry(ENTRY).versions() == [version]
    with pytest.raises(DataError, match="no version of the model has a record"):
        VertexRegistry(ENTRY).archive(version)
    add(version, "champion", root="")
    registry = VertexRegistry(ENTRY)
    assert storage.exists(f"gs://{bucket}/headrace/registry/natality/registry.json")
    assert registry.state().versions[version].approval == "blessed"
    registry.verify(version)


def test_nothing_is_registered(server: VertexServer) -> None:
    registry = VertexRegistry(ENTRY)
    assert registry.versions() == []
    with pytest.raises(UsageError, match="nothing is registered yet"):
        registry.path("a" * 16)


def test_an_entry_is_looked_up_in_its_own_region(monkeypatch: pytest.MonkeyPatch) -> None:
    aiplatform.init(project="p", location="us-central1", credentials=AnonymousCredentials())
    monkeypatch.setattr(aiplatform.initializer.global_config, "_api_endpoint", None)
    service = service_of("projects/p/locations/europe-west4/models/natality")
    assert service.client.api_endpoint.removesuffix(":443") == "europe-west4-aiplatform.googleapis.com"
