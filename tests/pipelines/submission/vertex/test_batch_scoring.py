"""Batch scoring as it is compiled for Vertex AI's batch prediction jobs: every request of it made for real, and parsed.

The job's own task is run by google-cloud-pipeline-components' launcher with the arguments of the compiled spec; the
tasks before and after it are our steps. The model that they load computes by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peers.pipeline_engine import Call, TaskFailed
from peers.pipeline_platforms import Platform
from peers.vertex.launchers import Launching
from support.by_hand import ByHand, predicted

PARENT = "projects/demo-project/locations/us-central1"
REGISTRY = f"{PARENT}/models/weights"
VERTEX_TOML = Path(__file__).parents[2] / "platforms" / "vertex.toml"
PROBLEM = """
from headrace.core.problem import Categorical, Numeric, Problem
problem = Problem(name="weights", key="id", label=Numeric("label"), features=[Numeric("weight"), Categorical("color")])
"""
ROWS = 50
JOBS = "POST .*/batchPredictionJobs$"


def doubled(body: bytes) -> bytes:
    """What ByHand answers, as a server."""
    weight = np.array([instance["weight"] for instance in json.loads(body)["instances"]], np.float32)
    rows = zip(predicted(weight).tolist(), weight.tolist(), strict=True)
    answers = [{"prediction": p, "class": "light", "probabilities": [w % 1, 1 - w % 1]} for p, w in rows]
    return json.dumps({"predictions": answers}).encode()


@dataclass
class Scoring:
    """Batch scoring on a Vertex AI of its own, with a model that is registered as champion."""

    platform: Platform
    launch: Callable[[Call], dict[str, Any]]
    root: str
    prepared: list[Any]

    def jobs(self) -> list[Any]:
        return [held for name, held in self.platform.server.vertex.resources.items() if "/batchPredictionJobs/" in name]

    def predictions(self) -> pa.Table:
        """Those that are published."""
        from headrace.core import storage
        from headrace.core.artifacts import published
        from headrace.core.artifacts.predictions import PredictionsManifest

        place = f"{self.root}/predictions/weights"
        found = f"{place}/versions/{published.current(place)['current']}"
        (file,) = PredictionsManifest.read(found).files
        with storage.open_input(f"{found}/{file.file}") as opened:
            return pq.read_table(opened)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The spec for a bucket of the name my-bucket, and the options that it was compiled with."""
    from headrace.pipelines.compiler import compile_to

    folder = tmp_path_factory.mktemp("spec")
    text = VERTEX_TOML.read_text().replace("my-project", "demo-project").replace("europe-west1", "us-central1")
    options = folder / "vertex.toml"
    options.write_text(text + '\n[vertex.batch_prediction]\nstaging = "gs://my-bucket/staging"\nreplicas = 2\n')
    compile_to("batch-scoring", "vertex", str(folder / "batch.yaml"), options_file=str(options))
    return (folder / "batch.yaml").read_text(), options


@pytest.fixture
def scoring(
    vertex: Platform,
    compiled: tuple[str, Path],
    launching: Launching,
    bucket: str,
    put: Callable[[str, bytes], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scoring:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from peers import component_calls
    from peers.vertex import batch

    from headrace.components.registry.vertex.component import champion
    from headrace.components.score.batch import run as direct
    from headrace.components.score.component import check, publish, score
    from headrace.components.score.vertex_job import run as job
    from headrace.components.score.vertex_job.component import prepare
    from headrace.components.summarize.batch.component import notify

    url, service = vertex.server.url, vertex.server.vertex
    aiplatform.init(
        project="demo-project", location="us-central1", api_endpoint=url, api_transport="rest",
        credentials=AnonymousCredentials(),
    )  # fmt: skip
    vertex.server.upload(
        put("model/saved_model.pb", b"").rpartition("/")[0], model_id="weights", versionAliases=["champion"]
    )
    service.work["batchPredictionJobs"] = lambda held: batch.run(service, held, lambda _: doubled)
    monkeypatch.setattr(direct, "model_of", lambda *_: ByHand())
    prepared: list[Any] = []
    real = job.prepared
    monkeypatch.setattr(job, "prepared", lambda *of, **how: prepared.append(real(*of, **how)) or prepared[-1])
    (tmp_path / "weights.py").write_text(PROBLEM)
    weight = np.arange(ROWS) / 4
    rows = pa.table(
        {"id": [f"id-{n}" for n in range(ROWS)], "weight": weight, "color": ["red"] * ROWS, "label": weight}
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    vertex.spec = str(tmp_path / "batch.yaml")
    Path(vertex.spec).write_text(compiled[0].replace("gs://my-bucket/staging", f"gs://{bucket}/staging"))
    vertex.options = ["--platform", "vertex", "--options", str(compiled[1]), "--api-endpoint", url]
    data = put("rows.parquet", (tmp_path / "rows.parquet").read_bytes())
    root = f"gs://{bucket}/headrace"
    vertex.inputs = ["--problem", str(tmp_path / "weights.py"), "--data", data, "--root", root]

    def prepares(call: Call) -> dict[str, Any]:
        # The only address that is not the service's own, as its launchers' is not.
        told = {**json.loads(call.parameters["options"]), "api_endpoint": url, "poll_seconds": 0.01}
        call.parameters["options"] = json.dumps(told)
        return component_calls.run(prepare, call, tmp_path)

    launch = launching.of(vertex.server, tmp_path)
    ours = {"champion": champion, "score": score, "check": check, "publish": publish, "notify": notify}
    vertex.do.by_task = {
        **{name: lambda call, of=of: component_calls.run(of, call, tmp_path) for name, of in ours.items()},
        "score-2": lambda call: component_calls.run(score, call, tmp_path),
        "prepare": prepares,
        "model-batch-predict": launch,
    }
    return Scoring(vertex, launch, root, prepared)


def test_every_request_of_the_spec_is_made_and_parsed(scoring: Scoring) -> None:
    from headrace.components.score.vertex_job import run as job

    done = scoring.platform.submit("--wait")
    assert (done.status, done.error) == (0, "")
    (made,) = scoring.jobs()
    assert made.state.name == "JOB_STATE_SUCCEEDED"
    assert (made.model, made.model_version_id, made.display_name) == (f"{REGISTRY}@1", "1", "headrace-score")
    assert made.service_account == "headrace@demo-project.iam.gserviceaccount.com"
    # It is the very job that scoring would ask for itself.
    work, _, instances = scoring.prepared[0]
    asked = job.request(work, instances)
    for name in ("input_config", "instance_config", "output_config", "dedicated_resources"):
        assert getattr(made, name) == getattr(asked, name), name
    machines = made.dedicated_resources
    assert (machines.machine_spec.machine_type, machines.max_replica_count) == ("n2-standard-4", 2)
    assert (made.manual_batch_tuning_parameters.batch_size, made.instance_config.key_field) == (64, "headrace_row")
    labels = dict(made.labels)
    assert len(labels.pop("headrace_job")) == 32
    assert labels == {"headrace-step": "score", "team": "growth", "vertex-ai-pipelines-run-billing-id": "42"}
    # What collects the results found the job, and asked for no other.
    requests = [one for one in scoring.platform.server.requests if one.endswith("/batchPredictionJobs")]
    assert [one.split()[0] for one in requests] == ["POST", "GET"]
    published = scoring.predictions()
    assert published["prediction"].to_numpy().tolist() == predicted(np.arange(ROWS) / 4).tolist()


def test_a_table_without_rows_starts_no_job(
    scoring: Scoring, make_table: Callable[[pa.Table], str], tmp_path: Path
) -> None:
    name = make_table(pq.read_table(tmp_path / "rows.parquet").slice(0, 0))
    scoring.platform.inputs[scoring.platform.inputs.index("--data") + 1] = f"bigquery://{name}"
    done = scoring.platform.submit("--wait")
    assert done.status == 0
    assert "nothing to do: the data has no rows" in done.error
    assert scoring.jobs() == []


def test_rows_of_which_none_can_be_sent_start_no_job_and_are_told_one_by_one(
    scoring: Scoring, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    rows = pq.read_table(tmp_path / "rows.parquet")
    at = rows.schema.get_field_index("weight")
    pq.write_table(rows.set_column(at, "weight", pa.nulls(ROWS, pa.float64())), tmp_path / "none.parquet")
    put("rows.parquet", (tmp_path / "none.parquet").read_bytes())
    done = scoring.platform.submit("--wait")
    assert done.status == 2
    assert "weight is missing" in done.error
    assert scoring.jobs() == []


def test_a_table_is_read_by_the_job_itself(
    scoring: Scoring, make_table: Callable[[pa.Table], str], tmp_path: Path
) -> None:
    from headrace.components.score.vertex_job import run as job

    name = make_table(pq.read_table(tmp_path / "rows.parquet"))
    scoring.platform.inputs[scoring.platform.inputs.index("--data") + 1] = f"bigquery://{name}"
    done = scoring.platform.submit("--wait")
    assert (done.status, done.error) == (0, "")
    (made,) = scoring.jobs()
    work, _, instances = scoring.prepared[0]
    asked = job.request(work, instances)
    assert (made.input_config, made.instance_config) == (asked.input_config, asked.instance_config)
    assert made.input_config.bigquery_source.input_uri == f"bq://{name}"
    assert list(made.instance_config.excluded_fields) == ["label"]
    assert sorted(scoring.predictions()["prediction"].to_pylist()) == sorted(predicted(np.arange(ROWS) / 4).tolist())


@pytest.mark.parametrize(
    ("code", "reason", "status", "said"),
    [
        (429, "RESOURCE_EXHAUSTED", 75, "the batch prediction job failed"),
        (400, "INVALID_ARGUMENT", 2, "Vertex AI rejected the request. Received: no n2-standard-4 is to be had"),
    ],
)
def test_a_job_that_fails_late_fails_the_run(scoring: Scoring, code: int, reason: str, status: int, said: str) -> None:
    from peers.vertex.resources import Refusal

    def fail(job: Any) -> None:
        raise Refusal(code, reason, "no n2-standard-4 is to be had")

    scoring.platform.server.vertex.work["batchPredictionJobs"] = fail
    done = scoring.platform.submit("--wait")
    assert (done.status, said in done.error) == (status, True)
    called = [call.task for call in scoring.platform.do.calls]
    assert called == ["champion", "prepare", "model-batch-predict", "notify"]


@pytest.mark.parametrize("code", [429, 503])
def test_a_request_that_is_refused_is_made_again_as_one_job(scoring: Scoring, code: int) -> None:
    """The launcher gives up then; the task's retries, which the spec asks for, are the engine's."""
    scoring.platform.server.fail(JOBS, code)
    # A poll that fails is asked again by the launcher itself.
    scoring.platform.server.fail("GET .*/batchPredictionJobs/", 503)
    tries: list[str] = []

    def with_retries(call: Call) -> dict[str, Any]:
        try:
            return scoring.launch(call)
        except TaskFailed as failure:
            tries.append(str(failure))
            return scoring.launch(call)

    scoring.platform.do.by_task["model-batch-predict"] = with_retries
    done = scoring.platform.submit("--wait")
    assert (done.status, len(tries), len(scoring.jobs())) == (0, 1, 1)


@pytest.mark.parametrize("given", ["approach=direct", "runner={}"])
def test_what_a_job_does_not_do_is_refused(scoring: Scoring, given: str) -> None:
    done = scoring.platform.submit("--parameter", given, "--wait")
    assert (done.status, "compiled to score by batch prediction jobs" in done.error) == (2, True)
    assert scoring.jobs() == []


def test_a_pipeline_that_is_cancelled_cancels_its_job(scoring: Scoring, launching: Launching, tmp_path: Path) -> None:
    server = scoring.platform.server
    advance: Callable[..., Any] = server.vertex._advance
    # The job stays where it is until somebody ends it.
    server.vertex._advance = lambda kind, one: None if kind == "batchPredictionJobs" else advance(kind, one)

    def cancelled(call: Call) -> dict[str, Any]:
        raise TaskFailed(f"cancelled: {launching.cancelled(call, server, tmp_path)}")

    scoring.platform.do.by_task["model-batch-predict"] = cancelled
    assert scoring.platform.submit("--wait").status == 75
    (job,) = scoring.jobs()
    assert job.state.name == "JOB_STATE_CANCELLED"
