"""The compiled canary pipeline on each platform, and its step on Vertex AI's own messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from kfp import dsl
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.compiled_spec import tasks
from support.endpoint_kinds import A, B, vertex_case

from headrace.components.rollout import service_step
from headrace.core.steps import step as steps
from headrace.pipelines.compiler import compile_to

HERE = Path(__file__).parent


@pytest.mark.parametrize("platform", ["local", "vertex", "kubeflow"])
def test_one_task_that_is_never_cached(platform: str, tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    options = "" if platform == "local" else str(HERE / "platforms" / f"{platform}.toml")
    if options:
        light = f'light = "registry.example.com/headrace/light@sha256:{"7" * 64}"'
        whole = Path(options).read_text().replace("[images]", f"[images]\n{light}")
        options = str(tmp_path / "options.toml")
        Path(options).write_text(whole)
    compile_to("canary", platform, str(path), options_file=options)
    spec = next(iter(yaml.safe_load_all(path.read_text())))
    assert list(tasks(spec)) == ["canary"]
    assert not spec["root"]["dag"]["tasks"]["canary"]["cachingOptions"].get("enableCache", False)
    given = spec["root"]["inputDefinitions"]["parameters"]
    required = {name for name, of in given.items() if not of.get("isOptional")}
    assert required == {"endpoint", "version", "traffic_log", "root"}
    optional = {"settings", "registry", "again", "why", "request_log", "labels", "problem", "problem_digest"}
    assert set(given) == required | optional
    # A replay needs TensorFlow, which an image for light work may do without.
    image = spec["deploymentSpec"]["executors"]["exec-canary"]["container"]["image"]
    assert platform == "local" or "/beam@" in image


def test_the_step_on_vertex(vertex_server: VertexServer, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case = vertex_case(request, tmp_path)
    case.add(A, 100)
    case.add(B, 0)
    name, log, root = f"{PARENT}/endpoints/natality", str(tmp_path / "traffic"), str(tmp_path / "root")
    done = dsl.Artifact(uri=str(tmp_path / "done"))
    # An engine makes floats of whole numbers.
    settings = {"steps": [20.0], "minimum_requests": 10.0, "deadline_s": 0.01}
    arguments = (name, B, log, root, settings, "", False, "try it", done)
    assert service_step.run(*arguments) == "under way"
    assert case.served() == {A: 80, B: 20}
    assert json.loads((tmp_path / "done").read_text())["traffic"] == {A: 80, B: 20}
    record = steps.read_record(root, "canary", steps.identity("canary", endpoint=name, version=B))
    assert record is not None
    assert record["result"]["outcome"] == "under way"
    with pytest.raises(SystemExit) as ended:
        service_step.run(*arguments)
    assert (ended.value.code, case.served()) == (75, {A: 100})
