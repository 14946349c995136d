"""`headrace preprocess --runner`: options reach the runner, and wrong ones are refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.core.beam.runners import DataflowRunner, DirectRunner, FlinkRunner
from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli
from headrace.pipelines.commands import runner_options as runner

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
DATAFLOW = (
    *("--runner", "DataflowRunner", "--project", "my-project", "--region", "europe-west1"),
    *("--temp-location", "gs://my-bucket/temp", "--sdk-container-image", "gcr.io/my-project/preprocess:1"),
)


def preprocess(folder: Path, *arguments: str) -> Any:
    places = ["--problem", str(EXAMPLE / "natality.py"), "--data", str(EXAMPLE / "births.csv")]
    command = ["preprocess", *places, "--output", str(folder / "out"), *arguments]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def chosen(*arguments: str) -> Any:
    import click

    found: list[Any] = []

    @click.command()
    @runner.runner
    def command(runner: dict[str, Any]) -> None:
        found.append(runner)

    CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    return runner.chosen(found[0])


def test_options_reach_the_runner() -> None:
    assert chosen() == DirectRunner()
    assert chosen("--direct-workers", "2") == DirectRunner(workers=2)
    assert chosen("--beam-option", "direct_runner_bundle_repeat=1") == DirectRunner(
        beam_options={"direct_runner_bundle_repeat": "1"}
    )
    options = (*DATAFLOW, "--workers", "2", "--job-label", "team=births", "--no-public-addresses")
    assert chosen(*options) == DataflowRunner(
        project="my-project",
        region="europe-west1",
        temp_location="gs://my-bucket/temp",
        sdk_container_image="gcr.io/my-project/preprocess:1",
        workers=2,
        labels={"team": "births"},
        public_addresses=False,
    )
    flink = ("--runner", "FlinkRunner", "--job-endpoint", "flink:8099", "--environment-type", "EXTERNAL")
    assert chosen(*flink, "--environment-config", "localhost:50000") == FlinkRunner(
        job_endpoint="flink:8099", environment_type="EXTERNAL", environment_config="localhost:50000"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runner", "Prism"), "the Beam runner is not valid"),
        (("--project", "my-project"), "DirectRunner does not accept --project"),
        (("--workers", "2"), "DirectRunner does not accept --workers. Expected --direct-workers"),
        ((*DATAFLOW, "--direct-workers", "2"), "DataflowRunner does not accept --direct-workers"),
        (("--runner", "DataflowRunner"), "--project: project is missing"),
        (DATAFLOW, "--data: Dataflow's workers cannot reach the data"),
        ((*DATAFLOW, "--job-label", "team"), "--job-label: the value is not a KEY=VALUE pair"),
        (("--beam-option", "a=1", "--beam-option", "a=2"), "--beam-option: the key is repeated"),
        (("--beam-option", "no_such_option=1"), 'Beam has no option "no_such_option"'),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_an_option_of_beams(tmp_path: Path) -> None:
    result = preprocess(tmp_path, "--beam-option", "direct_runner_bundle_repeat=1")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "manifest.json").exists()
