"""The step's Beam runner, as a pipeline says it."""

from __future__ import annotations

import pytest

from headrace.core.beam.runners import DirectRunner, FlinkRunner, runner_of
from headrace.core.errors import UsageError


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
