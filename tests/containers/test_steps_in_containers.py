"""Static training with each step in a container of its own image, beside the same run on this machine."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from peers.container_engine import ROOT, Ended, Engine
from peers.local_cluster import free_ports

from headrace.pipelines.local_run import plan_static

pytestmark = pytest.mark.timeout(3600)

NATALITY = ROOT / "examples" / "natality"
# Which image each step runs in.
IMAGES = {
    "preprocess": "beam",
    "train": "trainer",
    "evaluate": "trainer",
    "register": "trainer",
    "deploy": "server",
    "summarize": "beam",
}


@dataclass
class Launcher:
    """Runs tasks of a compiled pipeline as KFP's launcher does: the task's own command, told of its inputs as JSON."""

    engine: Engine
    image: Callable[..., str]
    root: Path
    spec: dict[str, Any]
    arguments: dict[str, Any]
    artifacts: dict[str, Any] = field(default_factory=dict)

    def launch(self, step: str, **given: Any) -> Any:
        """Runs a step; returns its output parameter, or None."""
        component = self.spec["components"][f"comp-{step}"]
        wants = component.get("inputDefinitions", {})
        known = {**self.arguments, **given}
        made = {
            name: self._artifact(name, step, what["artifactType"]["schemaTitle"])
            for name, what in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        folder = self.root / "tasks" / step
        told = {
            "inputs": {
                "parameterValues": {name: known[name] for name in wants.get("parameters", {}) if name in known},
                "artifacts": {name: {"artifacts": [self.artifacts[name]]} for name in wants.get("artifacts", {})},
            },
            "outputs": {
                "artifacts": {name: {"artifacts": [artifact]} for name, artifact in made.items()},
                "parameters": {
                    name: {"outputFile": str(folder / name)}
                    for name in component.get("outputDefinitions", {}).get("parameters", {})
                },
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        folder.mkdir(parents=True)
        open_to_all(folder)
        container = self.spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
        words = [word.replace("{{$}}", json.dumps(told)) for word in (*container["command"], *container["args"])]
        # A pipeline's task replaces the entry point that an image has.
        entry, *rest = words
        ended = self.engine.run(
            self.image(IMAGES[step]), rest, shared=self.root, options=["--network", "host", "--entrypoint", entry]
        )
        self._check(step, ended)
        self.artifacts.update(made)
        # The executor says here what the task returned; the launcher would hand it on.
        said = folder / "executor_output.json"
        return json.loads(said.read_text()).get("parameterValues", {}).get("Output") if said.exists() else None

    def _artifact(self, name: str, step: str, title: str) -> dict[str, Any]:
        folder = self.root / "artifacts" / step
        folder.mkdir(parents=True, exist_ok=True)
        open_to_all(folder)
        return {"name": name, "type": {"schemaTitle": title}, "uri": str(folder / name), "metadata": {}}

    def _check(self, step: str, ended: Ended) -> None:
        assert ended.status == 0, f"{step}: {ended.stdout[-3000:]}\n{ended.stderr[-5000:]}"
        assert f'"event": "finished", "step": "{step}"' in ended.stdout or step == "summarize"


def open_to_all(folder: Path) -> None:
    """Lets the image's user write, as the volumes of a platform do."""
    folder.chmod(0o777)


@dataclass
class Both:
    """The artifacts of the two runs, by name."""

    local: dict[str, Path]
    contained: dict[str, Path]
    summaries: tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def both(engine: Engine, image: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run on this machine, and one in containers, of the same compiled pipeline."""
    for name in sorted(set(IMAGES.values())):
        image(name)
    root = tmp_path_factory.mktemp("static")
    local, contained = root / "local", root / "contained"
    contained.mkdir()
    open_to_all(contained)
    for file in ("natality.py", "births.csv"):
        shutil.copy(NATALITY / file, contained / file)
    problem, data = str(contained / "natality.py"), str(contained / "births.csv")
    headrace = [sys.executable, "-m", "headrace.pipelines.cli"]
    run = [*headrace, "run", "static", "--problem", problem, "--data", data, "--root", str(local)]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    try:
        assert ran.returncode == 0, ran.stdout + ran.stderr
        compiled = contained / "static.yaml"
        subprocess.run(
            [*headrace, "compile", "static", "--platform", "local", "--output", str(compiled)],
            check=True,
            capture_output=True,
        )
        plan = plan_static(problem, data, str(contained), "")
        arguments = {**plan.arguments, "started": time.time()}
        launcher = Launcher(engine, image, contained, yaml.safe_load(compiled.read_text()), arguments)
        launcher.launch("preprocess")
        launcher.launch("train")
        assert launcher.launch("evaluate") is True
        registered = launcher.launch("register")
        launcher.launch("deploy", model=registered, endpoint=plan.arguments["endpoint"])
        launcher.launch("summarize", pipeline="static-training", final_status={"state": "SUCCEEDED"})
        engine.give_back(image("beam"), contained)
        ours = summary(local)
        yield Both(
            {name: Path(uri) for step in ours["steps"] for name, uri in step["outputs"].items()},
            {
                **{name: Path(artifact["uri"]) for name, artifact in launcher.artifacts.items()},
                "registered": Path(registered),
                "endpoint": Path(plan.arguments["endpoint"]),
            },
            (ours, summary(contained)),
        )
    finally:
        if (contained / "tasks").exists():
            engine.give_back(image("beam"), contained)
        subprocess.run([*headrace, "endpoint", "stop", str(local / "endpoints" / "natality")], check=False)


def summary(root: Path) -> dict[str, Any]:
    """The one run's summary under a root."""
    (file,) = (root / "runs").glob("*/summary.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_examples_are_the_same_bytes(both: Both) -> None:
    assert both.local["examples"] != both.contained["examples"]
    local = files_of(both.local["examples"])
    assert {"manifest.json", "statistics.json", "schema.json", "train/part-00000-of-00001.tfrecord"} <= local.keys()
    assert files_of(both.contained["examples"]) == local


def test_the_model_is_the_same_but_for_times_and_numbers_of_objects(both: Both) -> None:
    local, contained = files_of(both.local["model"]), files_of(both.contained["model"])
    # TensorFlow and Keras number functions and objects anew at each export; the answers below are compared instead.
    exported = {"saved_model/saved_model.pb", "saved_model/fingerprint.pb", "model.keras", "training.json"}
    assert contained.keys() == local.keys()
    assert {name for name in local if local[name] != contained[name]} <= exported
    assert "saved_model/variables/variables.data-00000-of-00001" in local
    assert json.loads(local["golden.json"])["predictions"]
    trained = [json.loads(files["training.json"]) for files in (local, contained)]
    for one in trained:
        # How fast it went, and what of that the model waited for.
        del one["rows_per_second"], one["input_share"], one["bound"], one["budget"]["hours"]
    assert trained[0] == trained[1]
    weights = [
        zipfile.ZipFile(io.BytesIO(files["model.keras"])).read("model.weights.h5") for files in (local, contained)
    ]
    assert weights[0] == weights[1]


def test_the_evaluation_is_the_same(both: Both) -> None:
    assert files_of(both.contained["evaluation"]) == files_of(both.local["evaluation"])


def test_the_same_version_is_registered_and_deployed(both: Both) -> None:
    assert both.contained["registered"].name == both.local["registered"].name
    runs = (both.local, both.contained)
    registries = [
        json.loads((run["registered"].parent.parent / "registry.json").read_text())["aliases"] for run in runs
    ]
    assert registries[0] == registries[1]
    assert registries[0]["champion"] == both.local["registered"].name
    endpoints = [json.loads((run["endpoint"] / "endpoint.json").read_text()) for run in runs]
    for one in endpoints:
        # Where it answers, who deployed it and when; the servers of the local run are stopped by now.
        one["history"] = [(change["version"], change["action"], change["traffic"]) for change in one["history"]]
        del one["url"], one["port"], one["registry"], one["stopped"]
    assert endpoints[0] == endpoints[1]


def test_the_summaries_tell_the_same(both: Both) -> None:
    told = []
    for summary_ in both.summaries:
        assert summary_["status"] == "succeeded"
        steps = {
            step["step"]: (step["identity"], step["status"], step["result"])
            for step in summary_["steps"]
            # A place that follows from root is a part of what these two do.
            if step["step"] in ("preprocess", "evaluate")
        }
        told.append((summary_["problem_digest"], summary_["data_version"], summary_["release"], steps))
    assert told[0] == told[1]


def test_the_server_image_serves_the_registered_model(both: Both, engine: Engine, image: Callable[..., str]) -> None:
    model = both.contained["registered"]
    golden = json.loads((model / "golden.json").read_text())
    told = {
        "AIP_STORAGE_URI": str(model),
        "AIP_HTTP_PORT": str(free_ports(1)[0]),
        "AIP_HEALTH_ROUTE": "/v1/health",
        "AIP_PREDICT_ROUTE": "/v1/predict",
    }
    url = f"http://127.0.0.1:{told['AIP_HTTP_PORT']}"
    check = health_check(engine, image("server"))
    with engine.running(image("server"), shared=model, environment=told, options=["--network", "host"]) as name:
        deadline = time.monotonic() + 240
        while subprocess.run([*engine.command, "exec", name, *check], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, engine("logs", name)
            time.sleep(1)
        assert httpx.get(f"{url}/v1/health").json()["model_version"] == model.name
        answer = httpx.post(f"{url}/v1/predict", json={"instances": golden["instances"]}, timeout=60)
        assert answer.json()["predictions"] == golden["predictions"]
        # Something else than the server answers nothing there.
        unhealthy = ["exec", "--env", "AIP_HEALTH_ROUTE=/nowhere", name, *check]
        assert subprocess.run([*engine.command, *unhealthy], capture_output=True, check=False).returncode == 1
        engine("stop", "--time", "30", name)
        assert engine("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"


def health_check(engine: Engine, tag: str) -> list[str]:
    """The command of an image's health check, as this engine shows it."""
    (inspected,) = json.loads(engine("image", "inspect", tag))
    shown = inspected["Config"].get("Healthcheck") or inspected.get("HealthCheck")
    if shown is None:
        # Podman's Docker-compatible interface keeps it, and shows it nowhere.
        return ["python", "-m", "headrace.components.serve.health"]
    assert shown["Test"][0] == "CMD"
    words: list[str] = shown["Test"][1:]
    return words
