"""The image of Beam's workers, with a boot program of the tests in the place of Beam's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from peers.container_engine import Engine

from headrace.core.steps.identity import release

pytestmark = pytest.mark.timeout(3600)

_SDK = "headrace/beam-sdk-stand-in:test"


@pytest.fixture(scope="module")
def worker(engine: Engine, image: Callable[..., str]) -> str:
    """The image, made with the stand-in for Beam's."""
    engine("build", "--tag", _SDK, str(Path(__file__).parent / "beam_sdk"))
    return image("beam-worker", f"--build-arg=BEAM_SDK_IMAGE={_SDK}", "--build-arg=WORKER_USER=65532:65532")


def test_a_worker_starts_as_dataflow_asks(engine: Engine, worker: str) -> None:
    config = engine.config(worker)
    assert config["Entrypoint"] == ["/opt/apache/beam/boot"]
    assert not config.get("Cmd")
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in config["Env"]
    assert config["User"] == "65532:65532"
    assert config["Labels"]["org.opencontainers.image.title"] == "headrace/beam-worker"


def test_a_job_runs_in_it_with_this_headrace(engine: Engine, worker: str) -> None:
    if engine.command[0] != "docker" or shutil.which("docker") is None:
        pytest.skip("Beam starts containers by a command named docker, which is not on PATH")
    flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=DOCKER"]
    options = PipelineOptions([*flags, f"--environment_config={worker}", "--sdk_location=container"])

    def release_there(_: object) -> str:
        # Travels by value, since it has no name of its own; what it imports is the worker's.
        from headrace.core.steps import identity

        return identity.release()

    before = set(containers(engine, worker))
    try:
        with beam.Pipeline(options=options) as job:
            assert_that(job | beam.Create([1]) | beam.Map(release_there), equal_to([release()]))
    finally:
        # Beam kills the container that it started, and leaves it there.
        for left in set(containers(engine, worker)) - before:
            engine("rm", "--force", left)


def containers(engine: Engine, worker: str) -> list[str]:
    """The containers of an image, running or not."""
    # By its number: some engines give its name a registry of their own.
    number = engine("image", "inspect", "--format", "{{.Id}}", worker).strip().removeprefix("sha256:")
    return engine("ps", "--all", "--quiet", "--filter", f"ancestor={number}").split()
