"""The step's Beam runner, as a pipeline says it, and the job that a pipeline's page links to."""

from __future__ import annotations

import json

import pytest
from peers.dataflow import dataflow

from headrace.components.errors import UsageError
from headrace.components.preprocess.runner import DirectRunner, FlinkRunner, runner_of
from headrace.components.preprocess.step import resources_of


class Job:
    """A job on Dataflow, as far as its id."""

    def job_id(self) -> str:
        return "2026-11-21_1"


def test_a_job_on_dataflow_is_linked_to() -> None:
    assert json.loads(resources_of(dataflow(), Job())) == {
        "resources": [
            {
                "resourceType": "DataflowJob",
                "resourceUri": "https://dataflow.googleapis.com/v1b3/projects/my-project/locations/europe-west1/jobs/"
                "2026-11-21_1",
            }
        ]
    }
    assert resources_of(DirectRunner(), Job()) == ""


def test_runners_by_their_names() -> None:
    assert runner_of("") == DirectRunner()
    assert runner_of('{"name": "FlinkRunner", "job_endpoint": "a:1", "environment_type": "LOOPBACK"}') == FlinkRunner(
        job_endpoint="a:1", environment_type="LOOPBACK"
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", "7"])
def test_what_names_no_runner(text: str) -> None:
    with pytest.raises(UsageError, match="not said as it should be"):
        runner_of(text)


def test_a_runner_with_an_option_of_another() -> None:
    with pytest.raises(UsageError, match="FlinkRunner does not take --region"):
        runner_of('{"name": "FlinkRunner", "region": "europe-west1"}')
