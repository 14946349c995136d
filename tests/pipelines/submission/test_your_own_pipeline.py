"""The pipelines of docs/your_own_pipeline.md, as they are there: compiled, linted and run."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_platforms import NATALITY, ROOT, Platform
from peers.vertex.launchers import Launching

from headrace import components, pipelines
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.platforms import local
from headrace.pipelines.platforms.images import Images, role_of

PLATFORMS = ROOT / "tests" / "pipelines" / "platforms"
DOCUMENT = (ROOT / "docs" / "your_own_pipeline.md").read_text()
GOOGLE, OWN, ALONE = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
# One epoch, and features that take little to train.
SHORT = (NATALITY / "natality.py").read_text().replace("epochs=40", "epochs=1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a script, with the options files that it names."""
    text = (PLATFORMS / "vertex.toml").read_text()
    text = text.replace("my-project", "demo-project").replace("europe-west1", "us-central1")
    (tmp_path / "vertex.toml").write_text(text)
    shutil.copy(PLATFORMS / "kubeflow.toml", tmp_path)
    (tmp_path / "natality.py").write_text(SHORT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def import_script(folder: Path, code: str) -> str:
    """What a script prints while it is imported from a file, where kfp reads the source of components."""
    path = folder / "script.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("script", path)
    assert spec is not None
    assert spec.loader is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return printed.getvalue()


def test_the_table_has_the_image_of_every_component() -> None:
    known = Images("x/beam:1", "x/train:1", "x/serve:1", light="x/light:1", allow_tags=True)
    rows = re.findall(r"^  \| (`.+) \| (`.+`) \|$", DOCUMENT, re.MULTILINE)
    table = {name: image.split("`")[1] for image, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert table == {name: known.of(role_of(name)).removeprefix("x/").removesuffix(":1") for name in components.__all__}


def images(spec: str) -> dict[str, str]:
    return {name: container["image"] for name, container in read_spec(spec).containers()}


def refused(spec: str, platform: str) -> list[str]:
    return [finding.text for finding in pipelines.lint(spec, platform) if finding.refused]


def test_with_googles_components(vertex: Platform, launching: Launching, folder: Path) -> None:
    printed = import_script(folder, GOOGLE)
    assert "refused" not in printed
    found = images("births.yaml")
    assert found["exec-preprocess"].startswith("europe-docker.pkg.dev/demo-project/headrace/beam@")
    assert found["exec-evaluate"].startswith("europe-docker.pkg.dev/demo-project/headrace/trainer-gpu@")
    assert found["exec-uri-of"] == "python:3.11-slim", "a task of others is left alone"
    launch = launching.of(vertex.server, folder)
    vertex.do.by_task = {
        "train": launch,
        "uri-of": lambda call: {"Output": call.artifacts["model"]["uri"]},
        "evaluate": lambda _: {"Output": True},
        "model-upload": launch,
        "endpoint-create": launch,
    }
    vertex.spec = str(folder / "births.yaml")
    parameters = ("--parameter", "project=demo-project", "--parameter", "location=us-central1")
    done = vertex.submit("--wait", *parameters)
    assert (done.status, done.error) == (0, "")
    held = vertex.server.vertex.resources
    (job,) = [one for name, one in held.items() if "/customJobs/" in name]
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    (model,) = [one for name, one in held.items() if "/models/" in name]
    assert model.display_name == "births"
    assert model.container_spec.image_uri.endswith(f"/headrace/server@sha256:{'3' * 64}")
    assert (model.container_spec.predict_route, model.container_spec.health_route) == ("/predict", "/health")
    assert [port.container_port for port in model.container_spec.ports] == [8080]
    assert model.artifact_uri.startswith("gs://")
    (endpoint,) = [one for name, one in held.items() if "/endpoints/" in name]
    assert endpoint.display_name == "births"


@pytest.mark.parametrize(("minimum", "trained"), [(100_000, False), (100, True)])
def test_with_a_component_of_your_own(folder: Path, minimum: int, trained: bool) -> None:
    assert import_script(folder, OWN) == ""
    assert refused("cluster.yaml", "kubeflow") == []
    assert images("cluster.yaml")["exec-are-enough"] == "python:3.11-slim"
    assert read_spec("cluster.yaml").kubernetes().keys() == {"exec-preprocess", "exec-train"}
    events: list[dict[str, Any]] = []
    arguments = {"problem": str(folder / "natality.py"), "data": str(NATALITY / "births.csv"), "minimum_rows": minimum}
    local.run("here.yaml", arguments, root=str(folder), logs=str(folder / "logs"), listener=events.append)
    finished = [event["step"] for event in events if event["event"] == "finished"]
    assert finished == ["preprocess", "train"] if trained else ["preprocess"]
    # Without a root there are no records, and the Model is there all the same.
    assert not (folder / "records").exists()
    assert bool(list(folder.glob("pipeline/**/model/training.json"))) is trained


def test_one_component_alone(folder: Path, make_model: Callable[..., Path]) -> None:
    make_model(folder / "model", "v1")
    (folder / "rows.csv").write_text(
        "record_id,mother_age,gestation_weeks,plurality,mother_smokes\na,30,40,1,true\nb,20,,2,\n"
    )
    (folder / "alone.py").write_text(ALONE)
    done = subprocess.run([sys.executable, "alone.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (predictions,) = folder.glob("outputs/**/predictions/predictions/*.jsonl")
    made = {row["record_id"]: row["prediction"] for row in map(json.loads, predictions.read_text().splitlines())}
    assert made == pytest.approx({"a": 1 + 1.5 + 4 - 0.5, "b": 1 + 1 + 3.8 - 2}, rel=1e-6)
    for platform in ("vertex", "kubeflow"):
        assert refused("score.yaml", platform) == []


def test_every_script_runs_on_images_that_hold_headrace(folder: Path) -> None:
    """Without the image that a script sets, the lint refuses it."""
    import_script(folder, ALONE.replace(".set_container_image(BEAM)", ""))
    (said,) = refused("score.yaml", "vertex")
    assert said.startswith("exec-score: python:3.11-slim: refused. A002: ")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
