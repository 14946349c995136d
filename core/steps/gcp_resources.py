"""Output parameter gcp_resources: the Google Cloud job of a task, to which the Vertex Pipelines console links.

The form is google_cloud_pipeline_components' proto/gcp_resources.proto, as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headrace.core import storage
from headrace.core.beam.dataflow import DataflowRunner
from headrace.core.beam.runner_options import RunnerOptions

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineResult

_DATAFLOW = "https://dataflow.googleapis.com/v1b3"


def write_none(uri: str) -> None:
    """Writes an empty list: an engine reads the output in any case."""
    _write(uri)


def write_beam_job(uri: str, runner: RunnerOptions, result: PipelineResult) -> None:
    """Writes the job of a Beam pipeline, if Dataflow runs it."""
    if isinstance(runner, DataflowRunner):
        name = f"projects/{runner.project}/locations/{runner.region}/jobs/{result.job_id()}"
        _write(uri, {"resourceType": "DataflowJob", "resourceUri": f"{_DATAFLOW}/{name}"})


def write_batch_prediction_job(uri: str, region: str, name: str) -> None:
    """Writes a batch prediction job, named projects/P/locations/L/batchPredictionJobs/N."""
    address = f"https://{region}-aiplatform.googleapis.com/v1/{name}"
    _write(uri, {"resourceType": "BatchPredictionJob", "resourceUri": address})


def _write(uri: str, *resources: Mapping[str, str]) -> None:
    storage.write_json(uri, {"resources": list(resources)})
