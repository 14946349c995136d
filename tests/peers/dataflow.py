"""Dataflow without Google Cloud: the request that would go there, made by Beam's own runner in its dry run."""

from __future__ import annotations

import base64
import bz2
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner as BeamDataflowRunner
from apache_beam.runners.dataflow.internal import apiclient
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from headrace.core.beam.runners import DataflowRunner

IMAGE = "europe-docker.pkg.dev/my-project/headrace/preprocess:1.0"


def dataflow(**options: Any) -> DataflowRunner:
    """The runner with all that it cannot do without."""
    return DataflowRunner(
        project="my-project",
        region="europe-west1",
        temp_location="gs://my-bucket/temp",
        sdk_container_image=IMAGE,
        **options,
    )


def translate(
    build: Callable[[beam.Pipeline], None], runner: DataflowRunner, job_name: str
) -> tuple[apiclient.Job, beam_runner_api_pb2.Pipeline]:
    """The job of a pipeline, and the pipeline within."""
    flags = [*runner.flags(), f"--job_name={job_name}", "--dry_run=true"]
    flags += [f"--{name}={value}" for name, value in runner.beam_options.items()]
    options = PipelineOptions(flags)
    # A pipeline for the service itself would ask it about the bucket as soon as it is made.
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    build(pipeline)
    made = BeamDataflowRunner().run_pipeline(pipeline, options).job
    made.proto.environment = apiclient.Environment(
        packages=[],
        options=options,
        environment_version="8",
        proto_pipeline_staged_url="gs://my-bucket/temp/pipeline.pb",
        proto_pipeline=made.proto_pipeline,
    ).proto
    return made, made.proto_pipeline


def check_nothing_of_this_machine(job: apiclient.Job, pipeline: beam_runner_api_pb2.Pipeline) -> set[str]:
    """Checks that workers find all they need in the image, and returns the names of the stages' classes."""
    stages: dict[str, Any] = {}
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            assert payload.do_fn.urn == python_urns.PICKLED_DOFN_INFO
            stage = stages[transform.unique_name] = pickler.loads(payload.do_fn.payload)[0]
            # Beam's own stages pickle lambdas, which say where Beam is installed here.
            if type(stage).__module__.startswith("headrace."):
                _check_nothing_local(payload.do_fn.payload)
    (environment,) = pipeline.components.environments.values()
    assert environment.urn == "beam:env:docker:v1"
    assert beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image == IMAGE
    assert not environment.dependencies
    assert str(Path(__file__).parents[2]) not in job.json()
    return {type(stage).__name__ for stage in stages.values()}


def _check_nothing_local(payload: bytes) -> None:
    compressed = base64.b64decode(payload)
    content = bz2.decompress(compressed) if compressed[:3] == b"BZh" else zlib.decompress(compressed)
    for local in (str(Path(__file__).parents[2]), str(Path.home()) + "/", "/tmp/", "pytest"):
        assert local.encode() not in content, content
