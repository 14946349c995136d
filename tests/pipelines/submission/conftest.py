"""Both platforms as one: what a test of submission asks of either."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers.kubeflow_pipelines import kubeflow_pipelines
from peers.pipeline_platforms import GOLDEN, NATALITY, Platform

__all__ = ["kubeflow_pipelines"]


@pytest.fixture
def vertex_pipelines() -> Iterator[Any]:
    """A Vertex AI with pipelines of its own for one test."""
    from peers.vertex.pipeline_jobs import Pipelines
    from peers.vertex.server import serving

    with serving() as server:
        server.vertex = Pipelines(work=server.vertex.work)
        yield server


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waiting for a platform takes no time; the seconds that it would have taken are kept."""
    from google.api_core.future import polling

    from headrace.core import retry

    # Between two looks of the service's own client at an operation.
    monkeypatch.setattr(polling.DEFAULT_POLLING, "_initial", 0.01)
    waited: list[float] = []
    monkeypatch.setattr(retry, "sleep", waited.append)
    monkeypatch.setattr(retry, "monotonic", lambda: sum(waited))
    return waited


@pytest.fixture
def vertex(vertex_pipelines: Any, bucket: str, put: Callable[[str, bytes], str]) -> Platform:
    data = put("births.csv", (NATALITY / "births.csv").read_bytes())
    return Platform(
        "vertex",
        vertex_pipelines,
        vertex_pipelines.vertex.do,
        [
            "--platform", "vertex", "--project", "demo-project", "--region", "us-central1",
            "--api-endpoint", vertex_pipelines.url,
        ],
        str(GOLDEN / "static_training_vertex.yaml"),
        r"POST .*/pipelineJobs$",
        r"GET .*/pipelineJobs/[^/]+$",
        ["--problem", str(NATALITY / "natality.py"), "--data", data, "--root", f"gs://{bucket}/headrace"],
    )  # fmt: skip


@pytest.fixture
def kubeflow(kubeflow_pipelines: Any, bucket: str, put: Callable[[str, bytes], str]) -> Platform:
    data = put("births.csv", (NATALITY / "births.csv").read_bytes())
    return Platform(
        "kubeflow",
        kubeflow_pipelines,
        kubeflow_pipelines.do,
        ["--platform", "kubeflow", "--kubeflow-url", kubeflow_pipelines.url],
        str(GOLDEN / "static_training_kubeflow.yaml"),
        r"POST .*/runs$",
        r"GET .*/runs/[^/]+$",
        ["--problem", str(NATALITY / "natality.py"), "--data", data, "--root", f"gs://{bucket}/headrace"],
    )


@pytest.fixture(params=["vertex", "kubeflow"])
def platform(request: pytest.FixtureRequest) -> Platform:
    """Each platform in turn."""
    found: Platform = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def write_summary() -> Callable[..., Callable[[dict[str, Any], dict[str, str]], None]]:
    """`write_summary(status=...)`: what a run's exit task writes below its root."""
    from headrace.core import storage
    from headrace.core.steps import workspace

    def summary(status: str, steps: list[dict[str, Any]] | None = None, error: Any = None) -> Any:
        def write(parameters: dict[str, Any], names: dict[str, str]) -> None:
            steps_of_all = ("preprocess", "train", "evaluate", "register", "deploy")
            blank = [{"step": name, "status": "succeeded", "result": {}, "error": None} for name in steps_of_all]
            told = {
                **names,
                "status": status,
                "started": parameters["started"],
                "finished": time.time(),
                "run_id": parameters["run_id"],
                "problem": "natality",
                "error": error,
                "steps": [next((one for one in steps or [] if one["step"] == b["step"]), b) for b in blank],
            }
            uri = workspace.summary_uri(parameters["root"], parameters["run_id"])
            storage.write_json(uri, json.loads(json.dumps(told)))

        return write

    return summary
