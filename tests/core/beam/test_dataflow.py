"""Preprocessing and scoring on Dataflow: Beam's own runner, its requests to a service that parses and does them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.dataflow import dataflow_runner
from apache_beam.utils import retry
from google.cloud import dataflow_v1beta3
from google.protobuf import json_format
from google_cloud_pipeline_components.proto import gcp_resources_pb2
from peers.dataflow_service import Dataflow, serving
from support.by_hand import ByHand

from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.components.score.batch.run import score
from headrace.components.score.config import ScoreConfig
from headrace.core import storage
from headrace.core.beam.runners import DataflowRunner
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.steps import gcp_resources
from headrace.core.storage.remote import folders

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
IMAGE = f"europe-docker.pkg.dev/my-project/headrace/beam-worker@sha256:{'5' * 64}"
CREATE, LOOK = "POST .*/jobs$", "GET .*/jobs/[^/]+$"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dataflow]:
    """Dataflow; Beam's pauses between two looks and two tries are short."""
    pauses = SimpleNamespace(sleep=lambda _: time.sleep(0.02), time=time.time)
    monkeypatch.setattr(dataflow_runner, "time", pauses)
    monkeypatch.setattr(retry.Clock, "sleep", lambda *_: None)
    with serving() as running:
        yield running
        # Beam's threads outlive a pipeline that is cancelled: each ends with its job, while there is somebody to ask.
        for held in running.jobs.values():
            held.job.current_state = dataflow_v1beta3.JobState.JOB_STATE_CANCELLED
        for thread in threading.enumerate():
            if "poll_for_job_completion" in thread.name:
                thread.join(600)
                assert not thread.is_alive()


def runner_of(service: Dataflow, bucket: str) -> DataflowRunner:
    return DataflowRunner(
        project="my-project",
        region="europe-west1",
        temp_location=f"gs://{bucket}/temp",
        sdk_container_image=IMAGE,
        service_account="headrace@my-project.iam.gserviceaccount.com",
        machine_type="n2-standard-4",
        max_workers=20,
        labels={"team": "growth"},
        beam_options=service.beam_options(),
    )


@pytest.fixture
def run(service: Dataflow, bucket: str, put: Callable[[str, bytes], str], tmp_path: Path) -> Callable[..., Any]:
    """`run()`: preprocesses the example in the bucket; the job is told of in gcp_resources."""
    data = put("births.csv", (EXAMPLE / "births.csv").read_bytes())
    runner = runner_of(service, bucket)

    def start(launched: Callable[[], None] = lambda: None) -> PreprocessResult:
        def tell(result: Any) -> None:
            gcp_resources.write_beam_job(str(tmp_path / "gcp_resources"), runner, result)
            launched()

        config = PreprocessConfig(data, f"gs://{bucket}/out", "0" * 16, runner=runner)
        return preprocess(PROBLEM_FILE, config, launched=tell)

    return start


def left(bucket: str) -> set[str]:
    """What there is in the bucket beside the rows and what Beam staged."""
    names = {found.uri.removeprefix(f"gs://{bucket}/") for found in folders.below(f"gs://{bucket}")}
    return {name for name in names if not name.startswith(("temp/", "births.csv"))}


def test_the_request_is_parsed_and_its_staged_pipeline_run(
    run: Callable[..., PreprocessResult], service: Dataflow, bucket: str, tmp_path: Path
) -> None:
    result = run()
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (1450, 1449, 1)
    assert storage.read_json(f"gs://{bucket}/out/manifest.json")["rows_out"] == 1449
    # What the job counted came back by its metrics.
    assert (result.metrics["rows"], result.metrics["quarantined_missing_value"]) == (1450, 1)
    (held,) = service.jobs.values()
    job = held.job
    assert (job.name, job.type_.name) == ("headrace-preprocess-0000000000000000", "JOB_TYPE_BATCH")
    assert (job.project_id, job.location, dict(job.labels)) == ("my-project", "europe-west1", {"team": "growth"})
    assert job.environment.service_account_email == "headrace@my-project.iam.gserviceaccount.com"
    (pool,) = job.environment.worker_pools
    assert (pool.machine_type, pool.autoscaling_settings.max_num_workers) == ("n2-standard-4", 20)
    assert {image.container_image for image in pool.sdk_harness_container_images} == {IMAGE}
    assert isinstance(job, dataflow_v1beta3.Job)
    told: Any = json_format.Parse((tmp_path / "gcp_resources").read_text(), gcp_resources_pb2.GcpResources())
    (resource,) = told.resources
    assert resource.resource_uri.endswith(f"/v1b3/projects/my-project/locations/europe-west1/jobs/{job.id}")


def test_scoring_goes_the_same_way(service: Dataflow, bucket: str, tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b", "c"], "weight": [0.5, None, 1.5], "color": ["red"] * 3})
    pq.write_table(rows, tmp_path / "rows.parquet")
    data = f"gs://{bucket}/data/rows.parquet"
    storage.write_bytes(data, (tmp_path / "rows.parquet").read_bytes())
    told = tmp_path / "gcp_resources"
    config = ScoreConfig(
        "m", data, f"gs://{bucket}/out", "1" * 16, runner=runner_of(service, bucket), gcp_resources=str(told),
        quarantine_budget=0.5,
    )  # fmt: skip
    result = score(config, source=ByHand())
    assert (result.rows_out, result.rows_quarantined, result.metrics["rows"]) == (2, 1, 3)
    (held,) = service.jobs.values()
    assert held.job.name == "headrace-score-1111111111111111"
    assert held.job.id in told.read_text()


def test_faults_of_the_service_are_ridden_out(run: Callable[..., PreprocessResult], service: Dataflow) -> None:
    for code in (503, 0):
        service.fail(CREATE, code)
        service.fail(LOOK, code)
    service.fail("GET .*/metrics$", 503)
    assert (run().rows_out, len(service.jobs)) == (1449, 1)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (403, UsageError, "gcloud projects add-iam-policy-binding .* --role=roles/dataflow.developer"),
        (404, UsageError, "Dataflow did not find something that the job needs"),
        (429, PlatformError, "Dataflow failed or did not respond"),
    ],
)
def test_a_refusal_is_said_in_one_paragraph(
    run: Callable[..., PreprocessResult], service: Dataflow, bucket: str, code: int, kind: type[Exception], said: str
) -> None:
    service.fail(CREATE, code, times=100, message="The quota or a role is missing.")
    with pytest.raises(kind, match=said) as caught:
        run()
    assert "The quota or a role is missing" in str(caught.value)
    assert (service.jobs, left(bucket)) == ({}, set())


def test_a_job_that_fails_late_leaves_its_name_and_nothing_else(
    run: Callable[..., PreprocessResult], service: Dataflow, bucket: str, tmp_path: Path
) -> None:
    def lost(_: Any) -> None:
        raise RuntimeError("Workflow failed. Causes: the zone has no n2-standard-4")

    service.work = lost
    with pytest.raises(PlatformError, match="the job failed") as caught:
        run()
    assert "the zone has no n2-standard-4" in str(caught.value.received)
    assert left(bucket) == set()
    assert next(iter(service.jobs)) in (tmp_path / "gcp_resources").read_text()


def test_what_a_worker_says_of_the_rows_is_the_users(run: Callable[..., PreprocessResult], service: Dataflow) -> None:
    def refuse(_: Any) -> None:
        raise DataError("the file ends in the middle of a row", where="gs://bucket/births.csv")

    service.work = refuse
    with pytest.raises(DataError, match="the file ends in the middle of a row") as caught:
        run()
    assert "gs://bucket/births.csv" in caught.value.text


@pytest.mark.parametrize("when", ["as it starts", "as it runs"])
def test_a_pipeline_that_is_cancelled_cancels_its_job(
    run: Callable[..., PreprocessResult], service: Dataflow, bucket: str, when: str
) -> None:
    def end() -> None:
        # What Vertex AI sends to the tasks of a pipeline that is cancelled.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)

    service.endless = True
    if when == "as it starts":
        service.creating = end
    with pytest.raises(PlatformError, match="the run was terminated"):
        run(launched=end if when == "as it runs" else lambda: None)
    (held,) = service.jobs.values()
    assert held.job.current_state.name == "JOB_STATE_CANCELLED"
    assert left(bucket) == set()


def test_a_job_that_cannot_be_put_on_record_is_cancelled(
    run: Callable[..., PreprocessResult], service: Dataflow
) -> None:
    def full() -> None:
        raise PlatformError("the disk is full")

    service.endless = True
    with pytest.raises(PlatformError, match="the disk is full"):
        run(launched=full)
    (held,) = service.jobs.values()
    assert held.job.current_state.name == "JOB_STATE_CANCELLED"


def test_a_job_that_is_cancelled_elsewhere(run: Callable[..., PreprocessResult], service: Dataflow) -> None:
    def cancel() -> None:
        (held,) = service.jobs.values()
        held.job.current_state = dataflow_v1beta3.JobState.JOB_STATE_CANCELLED

    service.endless = True
    with pytest.raises(PlatformError, match="the job was cancelled"):
        run(launched=cancel)


def test_a_job_of_the_same_name_is_not_doubled(run: Callable[..., PreprocessResult], service: Dataflow) -> None:
    assert run().rows_out == 1449
    (held,) = service.jobs.values()
    held.job.current_state = dataflow_v1beta3.JobState.JOB_STATE_RUNNING
    with pytest.raises(PlatformError, match="a job of this name is already running"):
        run()
    assert len(service.jobs) == 1
