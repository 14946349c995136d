"""The pipeline component ModelBatchPredictOp as a pipeline of ours compiles it, run by its own launcher."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from by_hand import ByHand, predicted

from headrace.components.progress import silent
from headrace.components.score import job
from headrace.components.score.config import ScoreConfig
from headrace.components.score.job_preparation import prepare
from headrace.components.score.manifest import PredictionsManifest
from headrace.components.score.options import JobOptions

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

LAUNCHER = Path(__file__).parents[2] / "peers" / "vertex" / "batch_predict_launcher.py"


def doubled(body: bytes) -> bytes:
    """What ByHand answers, as a server."""
    weight = np.array([instance["weight"] for instance in json.loads(body)["instances"]], np.float32)
    rows = zip(predicted(weight).tolist(), weight.tolist(), strict=True)
    answers = [{"prediction": p, "class": "light", "probabilities": [w % 1, 1 - w % 1]} for p, w in rows]
    return json.dumps({"predictions": answers}).encode()


@pytest.fixture
def vertex(vertex_server: VertexServer) -> VertexServer:
    """A Vertex AI whose container computes by hand."""
    from peers.vertex import batch

    vertex_server.vertex.work["batchPredictionJobs"] = lambda held: batch.run(
        vertex_server.vertex, held, lambda _: doubled
    )
    return vertex_server


def compiled(work: job.Work, uris: tuple[str, ...], key_field: str, folder: Path) -> dict[str, Any]:
    """A pipeline of an importer and the task."""
    from google_cloud_pipeline_components.types.artifact_types import VertexModel
    from kfp import compiler, dsl

    from headrace.components.score.batch_predict_op import batch_predict
    from headrace.components.score.job_client import LABEL

    @dsl.pipeline(name="scoring")
    def pipeline():  # type: ignore[no-untyped-def]
        model = dsl.importer(
            artifact_uri="https://us-central1-aiplatform.googleapis.com/v1/model",
            artifact_class=VertexModel,
            metadata={"resourceName": work.model},
        )
        batch_predict(model.output, list(uris), key_field, work.predictions, work.options, labels={LABEL: work.digest})

    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    spec: dict[str, Any] = yaml.safe_load((folder / "pipeline.yaml").read_text())
    return spec


def arguments(spec: dict[str, Any], model: str, folder: Path) -> list[str]:
    """What the engine would give the container of the task."""
    from kfp.local import placeholder_utils

    component = spec["components"]["comp-model-batch-predict"]
    given = spec["root"]["dag"]["tasks"]["model-batch-predict"]["inputs"]["parameters"]
    values = {}
    for name, declared in component["inputDefinitions"]["parameters"].items():
        value = given[name]["runtimeValue"]["constant"] if name in given else declared["defaultValue"]
        # The file holds every number as a float; the engine goes by the type that is declared.
        values[name] = int(value) if declared["parameterType"] == "NUMBER_INTEGER" else value
    executor_input = {
        "inputs": {
            "parameterValues": values,
            "artifacts": {
                "model": {"artifacts": [{"name": "model", "type": {}, "metadata": {"resourceName": model}}]},
            },
        },
        "outputs": {
            "parameters": {"gcp_resources": {"outputFile": str(folder / "gcp_resources")}},
            "artifacts": {
                name: {"artifacts": [{"name": name, "type": declared["artifactType"], "uri": str(folder / name)}]}
                for name, declared in component["outputDefinitions"]["artifacts"].items()
            },
            "outputFile": str(folder / "output.json"),
        },
    }
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    assert container["command"][-1] == "google_cloud_pipeline_components.container.v1.batch_prediction_job.launcher"
    resolved: list[str] = placeholder_utils.replace_placeholders(
        container["args"], executor_input, "scoring", "model-batch-predict", str(folder), "1"
    )
    return resolved


def test_the_component_asks_for_the_very_job_and_scoring_takes_it_up(
    vertex: VertexServer, bucket: str, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    rows = pa.table({"id": [f"id-{n}" for n in range(50)], "weight": np.arange(50) / 4, "color": ["red"] * 50})
    pq.write_table(rows, tmp_path / "rows.parquet")
    options = JobOptions(
        "demo-project",
        "us-central1",
        f"gs://{bucket}/staging",
        vertex.upload(put("model/saved_model.pb", b"").rpartition("/")[0]),
        replicas=2,
        poll_seconds=0.01,
        api_endpoint=vertex.url,
    )
    config = ScoreConfig(
        str(tmp_path), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), "0" * 16, approach="job", job=options
    )
    work = job.plan(config, options, ByHand(), f"{options.model}@1")
    instances = prepare(work.config, ByHand(), work.instances, work.paths, silent)
    spec = compiled(work, instances.uris, instances.key_field, tmp_path)
    done = subprocess.run(
        [sys.executable, str(LAUNCHER), vertex.url, *arguments(spec, work.model, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = (held for name, held in vertex.vertex.resources.items() if "/batchPredictionJobs/" in name)
    asked = job.request(work, instances)
    for name in ("model", "input_config", "instance_config", "output_config", "manual_batch_tuning_parameters"):
        assert getattr(made, name) == getattr(asked, name), name
    assert made.dedicated_resources == asked.dedicated_resources
    told = json.loads((tmp_path / "output.json").read_text())
    (directory,) = told["artifacts"]["gcs_output_directory"]["artifacts"]
    assert directory["uri"] == made.output_info.gcs_output_directory
    result = job.score(config, options, source=ByHand())
    assert (result.rows_out, result.rows_quarantined) == (50, 0)
    assert sum(request.startswith("POST") and "batchPredictionJobs" in request for request in vertex.requests) == 1
    (file,) = PredictionsManifest.read(str(tmp_path / "out")).files
    scored = pq.read_table(tmp_path / "out" / file.file)
    assert scored["prediction"].to_numpy().tolist() == predicted(np.arange(50) / 4).tolist()
