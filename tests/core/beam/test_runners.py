"""Runner options: what a runner would refuse late is refused at once, in one paragraph."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from headrace.components.preprocess.pipeline import PreprocessConfig
from headrace.core.beam.runners import (
    RUNNERS,
    DataflowRunner,
    DirectRunner,
    FlinkRunner,
    PortableRunner,
    SparkRunner,
    runner_options,
)
from headrace.core.errors import UsageError

IMAGE = "europe-docker.pkg.dev/my-project/headrace/preprocess:1.0"
DATAFLOW: dict[str, Any] = {
    "project": "my-project",
    "region": "europe-west1",
    "temp_location": "gs://my-bucket/temp",
    "sdk_container_image": IMAGE,
}


def test_the_direct_runner_is_the_in_memory_one_of_this_process() -> None:
    config = PreprocessConfig("data.csv", "out", "0123456789abcdef")
    assert config.runner == DirectRunner()
    assert type(config.runner.make()).__name__ == "FnApiRunner"
    assert config.runner.flags() == []
    assert DirectRunner(workers=3).flags() == ["--direct_num_workers=3", "--direct_running_mode=multi_processing"]


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DirectRunner().workers = 2  # type: ignore[misc]


def test_there_is_one_runner_for_each_name() -> None:
    assert list(RUNNERS) == ["DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner"]
    with pytest.raises(UsageError, match=r"the Beam runner is not valid\. Expected one of DirectRunner, .*'Prism'"):
        runner_options("Prism", {})
    with pytest.raises(UsageError, match="DirectRunner does not accept --project"):
        runner_options("DirectRunner", {"project": "my-project", "region": None})
    assert runner_options("DirectRunner", {"project": None, "workers": 2}) == DirectRunner(workers=2)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("project", "", "--project: project is missing"),
        ("project", "123456", r"a project's ID, such as my-project \(not its number\)"),
        ("region", "europe-west1-b", r"a region, such as us-central1 \(not a zone\)"),
        ("temp_location", "/tmp/here", "a folder in a bucket"),
        ("temp_location", "gs://my-bucket", "a folder in a bucket"),
        ("sdk_container_image", "", "--sdk-container-image: sdk_container_image is missing"),
        ("sdk_container_image", "not an image", "the image that holds this component"),
        ("service_account", "me@example.com", "NAME@PROJECT.iam.gserviceaccount.com"),
        ("network", "Default", "a network's name"),
        ("subnetwork", "workers", "regions/REGION/subnetworks/NAME"),
        ("subnetwork", "regions/us-east1/subnetworks/workers", "the subnetwork is in another region"),
        ("machine_type", "big", "a machine type of Compute Engine, such as n2-standard-4"),
        ("machine_type", "g1-small", "a shared core"),
        ("machine_type", "v3-8", "Compute Engine"),
        ("machine_type", "n2-standard", "Compute Engine"),
        ("machine_type", "TPU_V3", "Compute Engine"),
        ("job_name", "My_Job", "lower-case letters"),
        ("max_workers", -1, "a whole number, 0 or more"),
        ("workers", 9, "the number of workers exceeds the maximum"),
        ("labels", {"Team": "x"}, "a label is not valid"),
        ("labels", {f"k{number}": "x" for number in range(65)}, "there are too many labels"),
        ("beam_options", {"num_workers": "3"}, "has an option of its own"),
    ],
)
def test_what_dataflow_would_refuse_late_is_refused_at_once(option: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        runner_options("DataflowRunner", {**DATAFLOW, "max_workers": 8, option: value})


@pytest.mark.parametrize(
    "machine",
    [
        *("cloud-tpu", "ct5lp-hightpu-4t", "ct5p-hightpu-4t", "ct6e-standard-1t", "tpu7x-standard-4t"),
        *("a2-highgpu-1g", "a3-ultragpu-8g", "a4-highgpu-8g", "a4x-highgpu-4g", "a12-highgpu-8g"),
        *("g2-standard-4", "g4-standard-48", "g5a-standard-8"),
    ],
)
def test_dataflow_has_no_accelerator_that_is_not_requested(machine: str) -> None:
    with pytest.raises(UsageError, match="would not get the accelerators") as caught:
        runner_options("DataflowRunner", {**DATAFLOW, "machine_type": machine})
    assert caught.value.received == machine
    requested = {"dataflow_service_options": "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"}
    options = {**DATAFLOW, "machine_type": machine, "beam_options": requested}
    if machine == "cloud-tpu":
        with pytest.raises(UsageError, match="would not get the accelerators"):
            runner_options("DataflowRunner", options)
    else:
        assert "--machine_type=" + machine in runner_options("DataflowRunner", options).flags()


@pytest.mark.parametrize(
    "machine",
    [
        *("n1-standard-4", "n2d-highmem-8", "c4a-standard-8-lssd", "m3-megamem-64", "z3-highmem-88-highlssd"),
        *("custom-4-8192", "custom-4-8192-ext", "n2-custom-6-3072-ext", "e2-medium", "h4d-standard-192"),
        *("t2a-standard-4", "n9x-standard-4", "c3-highcpu-192-metal"),
    ],
)
def test_dataflow_takes_machine_types_of_compute_engine(machine: str) -> None:
    runner = runner_options("DataflowRunner", {**DATAFLOW, "machine_type": machine})
    assert "--machine_type=" + machine in runner.flags()


def test_dataflow_options_are_beams_own() -> None:
    runner = DataflowRunner(
        **DATAFLOW,
        service_account="worker@my-project.iam.gserviceaccount.com",
        subnetwork="regions/europe-west1/subnetworks/workers",
        machine_type="n2-standard-4",
        max_workers=20,
        labels={"team": "births"},
        public_addresses=False,
        beam_options={"number_of_worker_harness_threads": "4", "enable_hot_key_logging": "true"},
    )
    options = runner.pipeline_options("headrace-preprocess-1").get_all_options(drop_default=True)
    assert options == {
        "project": "my-project",
        "region": "europe-west1",
        "temp_location": "gs://my-bucket/temp",
        "sdk_container_image": IMAGE,
        "sdk_location": "container",
        "job_name": "headrace-preprocess-1",
        "service_account_email": "worker@my-project.iam.gserviceaccount.com",
        "subnetwork": "regions/europe-west1/subnetworks/workers",
        "machine_type": "n2-standard-4",
        "max_num_workers": 20,
        "labels": ["team=births"],
        "use_public_ips": False,
        "save_main_session": False,
        "number_of_worker_harness_threads": 4,
        "enable_hot_key_logging": True,
    }


@pytest.mark.parametrize(
    ("data", "output", "message"),
    [
        ("births.csv", "gs://my-bucket/out", "--data: Dataflow's workers cannot reach the data"),
        ("gs://my-bucket/births.csv", "file:///out", "--output: Dataflow's workers cannot reach the output"),
    ],
)
def test_dataflow_does_not_read_this_machine(data: str, output: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreprocessConfig(data, output, "0123456789abcdef", runner=DataflowRunner(**DATAFLOW))


@pytest.mark.parametrize("kind", [FlinkRunner, SparkRunner, PortableRunner])
def test_portable_runners_take_a_job_server_and_an_environment(kind: type[PortableRunner]) -> None:
    runner = kind(job_endpoint="flink:8099", environment_config=IMAGE)
    options = runner.pipeline_options("job").get_all_options(drop_default=True)
    assert options["job_endpoint"] == "flink:8099"
    assert (options["environment_type"], options["environment_config"]) == ("DOCKER", IMAGE)
    assert type(runner.make()).__name__ == kind.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "job_endpoint is missing.*without one Beam would download its own"),
        ({"job_endpoint": "http://flink"}, "job_endpoint is wrong"),
        ({"job_endpoint": "embed", "environment_type": "LOOPBACK"}, "job_endpoint is wrong"),
        ({"job_endpoint": "flink:8099", "environment_type": "POD"}, "one of DOCKER, EXTERNAL, PROCESS, LOOPBACK"),
        ({"job_endpoint": "flink:8099"}, "environment_config is missing"),
        ({"job_endpoint": "flink:8099", "environment_type": "EXTERNAL", "environment_config": "pool"}, "HOST:PORT"),
        ({"job_endpoint": "flink:8099", "environment_type": "PROCESS", "environment_config": "boot"}, "JSON object"),
        ({"job_endpoint": "flink:8099", "environment_type": "LOOPBACK", "environment_config": "x"}, "nothing for"),
    ],
)
def test_what_a_job_server_would_refuse_is_refused_at_once(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        runner_options("FlinkRunner", options)


def test_environments_that_are_right() -> None:
    for kind, config in (("EXTERNAL", "localhost:50000"), ("PROCESS", '{"command": "/boot"}'), ("LOOPBACK", "")):
        FlinkRunner(job_endpoint="flink:8099", environment_type=kind, environment_config=config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experimentz": "x"}, 'Beam has no option "experimentz".*Did you mean "experiment'),
        ({"direct_num_workers": "2"}, '"direct_num_workers" has an option of its own'),
        ({"number_of_worker_harness_threads": "many"}, "Beam rejected an option.*invalid int value: 'many'"),
        ({"runner": "FlinkRunner"}, '"runner" has an option of its own'),
    ],
)
def test_beams_own_options_are_read_by_beams_own_parser(
    options: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        DirectRunner(beam_options=options)
    assert capfd.readouterr() == ("", "")
