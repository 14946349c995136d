"""Dynamic training on Vertex AI: the tasks that register and deploy a version, with what the compiled spec gives them.

The pipeline, the Model Registry and the endpoint are those of the test server. Training and evaluation are played.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import component_calls
from peers.pipeline_engine import Call
from peers.pipeline_platforms import NATALITY, Platform, headrace
from peers.vertex.service import PARENT
from support.registered_models import make_model

from headrace.components.deploy.vertex.component import deploy
from headrace.components.deploy.vertex.vertex_endpoint import VertexEndpoint
from headrace.components.registry.vertex.component import register
from headrace.components.registry.vertex.registry import VertexRegistry
from headrace.components.rollout.component import renew
from headrace.core import storage
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.state import Watch
from headrace.core.steps.identity import publish_identity
from headrace.core.steps.step import read_record
from headrace.pipelines.dynamic.settings import DynamicSettings, read

OPTIONS = Path(__file__).parents[2] / "platforms" / "vertex.toml"
REGISTRY, ENDPOINT = f"{PARENT}/models/natality", f"{PARENT}/endpoints/natality"
FIRST, SECOND = "a" * 16, "b" * 16


class Tasks:
    """What the tasks of a run do.

    Attributes:
        version: of the Model that the next training makes.
        outcome: of the last task `renew`.
    """

    def __init__(self, settings: DynamicSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.version, self.outcome = "", ""

    def __call__(self, call: Call) -> dict[str, Any]:
        """The task's work, by its name."""
        found: dict[str, Any] = getattr(self, f"_{call.task.replace('-', '_')}")(call)
        return found

    def _claim(self, call: Call) -> dict[str, Any]:
        given = call.parameters
        run = self.settings.ledger.claim(given["run_id"], given["holder"])
        held = Claim(given["ledger"], run.id, given["holder"], run.epoch).to_json()
        base = {"champion": "", "changes": 0, "from_scratch": False}
        return {"Output": True, "claim": held, "arrivals": [], "champion": "", "base": base, "withdrawn": []}

    def _train(self, call: Call) -> dict[str, Any]:
        made = Path(make_model(self.folder / "models" / self.version, self.version, problem="natality", data="e1"))
        storage.upload_folder(made, call.outputs["model"]["uri"], "training.json")
        return {}

    def _evaluate(self, call: Call) -> dict[str, Any]:
        judged = {"model_version": self.version, "blessed": True, "metrics": {}}
        storage.write_json(storage.join(call.outputs["evaluation"]["uri"], "evaluation.json"), judged)
        return {"Output": True}

    def _register(self, call: Call) -> dict[str, Any]:
        return component_calls.run(register, call, self.folder)

    def _deploy(self, call: Call) -> dict[str, Any]:
        return self._here(deploy, call)

    def _renew(self, call: Call) -> dict[str, Any]:
        found = self._here(renew, call)
        record = read_record(self.settings.root, "deploy", publish_identity("deploy", self.version, ENDPOINT))
        assert record is not None
        self.outcome = record["result"]["outcome"]
        return found

    def _conclude(self, call: Call) -> dict[str, Any]:
        """As the exit task: it ends the run, or leaves its canary to ticks."""
        run = self.settings.ledger.state().run
        assert run is not None
        if self.outcome == "under way":
            self.settings.ledger.watch(run.id, str(run.holder), Watch(self.version))
        else:
            self.settings.ledger.end(run.id, run.epoch, "promoted", model=self.version)
        return {}

    def _here(self, component: Any, call: Call) -> dict[str, Any]:
        """Vertex AI mounts buckets, which this machine does not: the record of a deployment is a local file."""
        for name, held in call.outputs.items():
            held["uri"] = str(self.folder / f"{call.task}-{name}-{self.version}")
        return component_calls.run(component, call, self.folder)


@pytest.fixture
def settings(vertex: Platform, bucket: str, put: Callable[[str, bytes], str], tmp_path: Path) -> DynamicSettings:
    """A dynamic training whose versions a canary decides about."""
    vertex.server.be_asked_from_here()
    options = tmp_path / "vertex.toml"
    log = f'traffic = 0\ntraffic_log = "gs://{bucket}/traffic"\naliases = ["challenger"]\n'
    options.write_text(OPTIONS.read_text().replace('traffic = 20\naliases = ["champion"]\n', log))
    assert log in options.read_text()
    root = f"gs://{bucket}/headrace"
    made = headrace(
        "dynamic", "init", "--problem", str(NATALITY / "natality.py"), "--root", root, "--canary", "10,50",
        "--options", str(options), *vertex.options,
    )  # fmt: skip
    assert made.status == 0, made.error
    return read(root)


def play(vertex: Platform, settings: DynamicSettings, tasks: Tasks, version: str, span: str, data: str) -> list[str]:
    """A span arrives, and the run for it makes a version; returns the tasks that register and deploy it."""
    tasks.version = version
    vertex.do.calls.clear()
    added = headrace("dynamic", "add", settings.root, "--span", span, "--data", data)
    assert added.status == 0, added.error
    while True:
        done = headrace("tick", settings.root)
        assert done.status == 0, done.error
        if tasks.outcome and "canary is under way" in done.output:
            break
        if done.output.startswith("idle"):
            break
    return [call.task for call in vertex.do.calls if call.task in ("register", "deploy", "renew")]


def test_a_version_is_registered_deployed_and_tried_by_a_canary(
    vertex: Platform, settings: DynamicSettings, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    assert (settings.registry, settings.endpoint) == (REGISTRY, ENDPOINT)
    data = put("births-1.csv", (NATALITY / "births.csv").read_bytes())
    tasks = Tasks(settings, tmp_path)
    for task in ("claim", "train", "evaluate", "register", "deploy", "renew", "conclude"):
        vertex.do.by_task[task] = tasks
    service = vertex.server.vertex

    # Where nothing is served, the first version has all traffic, and is the champion.
    assert play(vertex, settings, tasks, FIRST, "2026-01-01", data) == ["register", "deploy", "renew"]
    registry = VertexRegistry(REGISTRY)
    assert (tasks.outcome, registry.aliases()["champion"]) == ("live", FIRST)
    held = service.versions[REGISTRY]["1"]
    # As the options of the platform say.
    assert held.container_spec.image_uri.endswith(f"/server@sha256:{'3' * 64}")
    variables = {one.name: one.value for one in held.container_spec.env}
    assert variables["HEADRACE_TRAFFIC_LOG"] == settings.traffic_log
    (machines,) = service.resources[ENDPOINT].deployed_models
    assert machines.dedicated_resources.machine_spec.machine_type == "n1-standard-4"
    assert machines.dedicated_resources.max_replica_count == 4

    # The second one is tried.
    assert play(vertex, settings, tasks, SECOND, "2026-01-02", data) == ["register", "deploy", "renew"]
    assert tasks.outcome == "under way"
    served = VertexEndpoint(ENDPOINT, registry=REGISTRY).state()
    assert (dict(served.traffic), served.canary) == ({FIRST: 90, SECOND: 10}, SECOND)
    assert registry.aliases() == {"champion": FIRST, "challenger": SECOND}
    run = settings.ledger.state().run
    assert run is not None
    assert (run.watch, len(vertex.made)) == (Watch(SECOND), 2)
    # Each task had the claim of its run.
    claims = [call.parameters["claim"] for call in vertex.do.calls if call.task in ("register", "deploy", "renew")]
    assert {(claim["run_id"], claim["holder"]) for claim in json.loads(json.dumps(claims))} == {(run.id, run.holder)}


@pytest.mark.parametrize("task", ["register", "deploy", "renew"])
def test_a_run_that_is_overtaken_before_a_task_changes_nothing_more(
    vertex: Platform, settings: DynamicSettings, put: Callable[[str, bytes], str], tmp_path: Path, task: str
) -> None:
    data = put("births-1.csv", (NATALITY / "births.csv").read_bytes())
    tasks = Tasks(settings, tmp_path)
    for name in ("claim", "train", "evaluate", "register", "deploy", "renew"):
        vertex.do.by_task[name] = tasks
    changed: list[str] = []

    def overtaken(call: Call) -> dict[str, Any]:
        run = settings.ledger.state().run
        assert run is not None
        settings.ledger.end(run.id, run.epoch, "kept")
        before = len(vertex.server.requests)
        try:
            return tasks(call)
        finally:
            made = [one for one in vertex.server.requests[before:] if one.startswith(("POST", "PATCH", "DELETE"))]
            changed.extend(made)

    vertex.do.by_task[task] = overtaken
    vertex.do.by_task["conclude"] = {}
    tasks.version, service = FIRST, vertex.server.vertex
    for command in (["dynamic", "add", settings.root, "--span", "2026-01-01", "--data", data], ["tick", settings.root]):
        assert headrace(*command).status == 0
    (job,) = [name for name in service.resources if "/pipelineJobs/" in name]
    ended = service.finish(job)
    failed = [one.task_name for one in ended.job_detail.task_details if one.state.name == "FAILED"]
    assert task in failed
    assert changed == []
    assert "champion" not in VertexRegistry(REGISTRY).aliases()
