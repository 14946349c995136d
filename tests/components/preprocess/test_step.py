"""The step's Beam runner, as a pipeline says it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from headrace.core.beam.runners import DataflowRunner, DirectRunner, FlinkRunner, runner_of
from headrace.core.errors import UsageError


def test_runners_by_their_names() -> None:
    assert runner_of("") == DirectRunner()
    assert runner_of('{"name": "FlinkRunner", "job_endpoint": "a:1", "environment_type": "LOOPBACK"}') == FlinkRunner(
        job_endpoint="a:1", environment_type="LOOPBACK"
    )


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ('{"team": "growth", "step": "other"}', {"team": "growth", "step": "beam"}),
        ("{", {"step": "beam"}),
        ("[]", {"step": "beam"}),
        ("", {"step": "beam"}),
    ],
)
def test_a_job_of_dataflow_gets_the_labels_of_its_run(said: str, labels: dict[str, str]) -> None:
    text = json.dumps(
        {
            "name": "DataflowRunner",
            "project": "demo-project",
            "region": "us-central1",
            "temp_location": "gs://bucket/temp",
            "sdk_container_image": "us-docker.pkg.dev/demo/headrace/worker:1",
            "labels": {"step": "beam"},
        }
    )
    runner = runner_of(text, {"VERTEX_AI_PIPELINES_RUN_LABELS": said})
    assert isinstance(runner, DataflowRunner)
    assert runner.labels == labels
    assert runner_of(text) == dataclasses.replace(runner, labels={"step": "beam"})


@pytest.mark.parametrize("text", ["{", "[]", "{}", "7"])
def test_what_names_no_runner(text: str) -> None:
    with pytest.raises(UsageError, match="the runner is not a valid JSON object"):
        runner_of(text)


def test_a_runner_with_an_option_of_another() -> None:
    with pytest.raises(UsageError, match="FlinkRunner does not accept --region"):
        runner_of('{"name": "FlinkRunner", "region": "europe-west1"}')
