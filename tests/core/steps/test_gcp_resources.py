"""What Vertex Pipelines is told of the jobs behind tasks, read by the message that it reads it by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google_cloud_pipeline_components.proto import gcp_resources_pb2
from peers.dataflow import dataflow

from headrace.core.beam.runners import DirectRunner
from headrace.core.steps import gcp_resources


class Job:
    """A job on Dataflow, as far as its id."""

    def job_id(self) -> str:
        return "2026-01-01_00_00_00-123"


def read(path: Path) -> list[tuple[str, str]]:
    message: Any = json_format.Parse(path.read_text(), gcp_resources_pb2.GcpResources())
    return [(one.resource_type, one.resource_uri) for one in message.resources]


def test_a_job_that_there_is_not_yet(tmp_path: Path) -> None:
    gcp_resources.write_none(str(tmp_path / "told"))
    assert read(tmp_path / "told") == []
    gcp_resources.write_beam_job(str(tmp_path / "told"), DirectRunner(), Job())  # type: ignore[arg-type]
    assert read(tmp_path / "told") == []


def test_a_job_of_dataflow(tmp_path: Path) -> None:
    gcp_resources.write_beam_job(str(tmp_path / "told"), dataflow(), Job())  # type: ignore[arg-type]
    place = "projects/my-project/locations/europe-west1/jobs/2026-01-01_00_00_00-123"
    assert read(tmp_path / "told") == [("DataflowJob", f"https://dataflow.googleapis.com/v1b3/{place}")]


def test_a_batch_prediction_job(tmp_path: Path) -> None:
    name = "projects/1/locations/us-central1/batchPredictionJobs/2"
    gcp_resources.write_batch_prediction_job(str(tmp_path / "told"), "us-central1", name)
    assert read(tmp_path / "told") == [
        ("BatchPredictionJob", f"https://us-central1-aiplatform.googleapis.com/v1/{name}")
    ]
