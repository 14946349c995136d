"""The compiled rollback pipeline on each platform, and its step on Vertex AI's own messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.compiled_spec import tasks, without_release
from support.registered_models import make_model

from headrace.components.deploy.vertex.deploy import VertexDeployConfig, deploy
from headrace.components.registry.vertex.register import UploadConfig, register
from headrace.components.registry.vertex.registry import VertexRegistry
from headrace.components.rollback import step
from headrace.core import storage
from headrace.core.steps import step as steps
from headrace.pipelines.compiler import compile_to

HERE = Path(__file__).parent
A, B = "a" * 16, "b" * 16
IMAGE = f"europe-docker.pkg.dev/my-project/headrace/server@sha256:{'3' * 64}"


def compiled(platform: str, folder: Path) -> dict[str, Any]:
    path = folder / "rollback.yaml"
    options = "" if platform == "local" else str(HERE / "platforms" / f"{platform}.toml")
    compile_to("rollback", platform, str(path), options_file=options)
    spec: dict[str, Any] = next(iter(yaml.safe_load_all(path.read_text())))
    return spec


def test_the_golden_file(tmp_path: Path) -> None:
    golden = yaml.safe_load((HERE / "golden" / "rollback_vertex.yaml").read_text())
    assert without_release(compiled("vertex", tmp_path)) == without_release(golden)


@pytest.mark.parametrize("platform", ["local", "vertex", "kubeflow"])
def test_one_task_that_is_never_cached(platform: str, tmp_path: Path) -> None:
    spec = compiled(platform, tmp_path)
    assert list(tasks(spec)) == ["rollback"]
    assert not spec["root"]["dag"]["tasks"]["rollback"]["cachingOptions"].get("enableCache", False)
    given = spec["root"]["inputDefinitions"]["parameters"]
    assert {name for name, of in given.items() if not of.get("isOptional")} == {"endpoint", "root"}
    assert set(given) == {"endpoint", "root", "to", "registry", "predictions", "why"}


def test_the_step_on_vertex(vertex_server: VertexServer, bucket: str, tmp_path: Path) -> None:
    vertex_server.be_asked_from_here()
    entry, name, root = f"{PARENT}/models/natality", f"{PARENT}/endpoints/natality", f"gs://{bucket}/root"
    for version in (A, B):
        uri = f"gs://{bucket}/runs/{version}/model"
        storage.upload_folder(Path(make_model(tmp_path / version, version)), uri, "training.json")
        config = UploadConfig(registry=entry, model_uri=uri, version=version, serving_image=IMAGE)
        deploy(VertexDeployConfig(register(config, root, None, ["champion"]), name, "n1-standard-4"))
    done = dsl.Artifact(uri=str(tmp_path / "done"))
    for _ in range(2):
        # A task that is tried again, or a pipeline that is run twice.
        assert step.run(name, root, "", "", "", "pager", done) == A
    held = vertex_server.vertex.resources[name]
    assert sorted(held.traffic_split.values()) == [0, 100]
    (live,) = [one for one in held.deployed_models if held.traffic_split[one.id] == 100]
    assert live.model_version_id == "1"
    aliases = {a: n for n, one in vertex_server.vertex.versions[entry].items() for a in one.version_aliases}
    assert aliases["champion"] == "1"
    assert VertexRegistry(entry).state().versions[B].status == "bad"
    assert json.loads((tmp_path / "done").read_text())["version"] == A
    record = steps.read_record(root, "rollback", steps.identity("rollback", endpoint=name, to=""))
    assert record is not None
    assert (record["status"], record["result"]["version"]) == ("succeeded", A)


def test_an_error_has_its_exit_status(
    vertex_server: VertexServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], put: Callable[[str, bytes], str]
) -> None:
    vertex_server.be_asked_from_here()
    root = put("root/any", b"").rpartition("/")[0]
    with pytest.raises(SystemExit) as ended:
        step.run(f"{PARENT}/endpoints/nothing", root, "", "", "", "", dsl.Artifact(uri=str(tmp_path / "done")))
    assert ended.value.code == 2
    assert "the endpoint does not exist" in capfd.readouterr().out
