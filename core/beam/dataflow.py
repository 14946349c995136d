"""Dataflow options, checked before launch by the rules that the service applies minutes after a job was staged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from headrace.core.beam.runner_options import IMAGE, RunnerOptions, option_of
from headrace.core.checks import check_count
from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineRunner

_JOB_NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
# Google Cloud's own rules: the service applies each of them minutes after a job was staged.
_RULES: Mapping[str, tuple[str, str]] = {
    "project": (r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]", "a project's ID, such as my-project (not its number)"),
    "region": (r"[a-z]+(-[a-z]+)+[0-9]+", "a region, such as us-central1 (not a zone)"),
    "temp_location": (r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\r\n]+", "a folder in a bucket, such as gs://bucket/temp"),
    "staging_location": (r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\r\n]+", "a folder in a bucket"),
    "sdk_container_image": IMAGE,
    "service_account": (r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", "NAME@PROJECT.iam.gserviceaccount.com"),
    "network": (r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "a network's name"),
    "subnetwork": (
        r"(https://www\.googleapis\.com/compute/v1/projects/[a-z0-9.:-]+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+",
        "regions/REGION/subnetworks/NAME, or its whole address",
    ),
    "machine_type": (
        # FAMILY-KIND-SIZE, custom types, and those with a shared core, whose names have no size.
        r"[a-z]+[0-9]+[a-z]*(-[a-z0-9]+){2,}|custom-[0-9]+-[0-9]+(-ext)?|(e2|f1|g1)-[a-z]+|cloud-tpu",
        "a machine type of Compute Engine, such as n2-standard-4",
    ),
    "job_name": (_JOB_NAME, "1 to 63 lower-case letters, digits and -, from a letter to a letter or digit"),
}
# Series with TPUs are called ct and tpu; those with GPUs built in a and g, from the second generation on.
# https://cloud.google.com/dataflow/docs/tpu/tpu-support and .../docs/gpu/use-gpus
_ACCELERATED = re.compile(r"cloud-tpu\Z|(ct|tpu)[0-9]|[ag]([2-9]|[1-9][0-9])[a-z]*-")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_MAX_LABELS = 64


@dataclass(frozen=True)
class DataflowRunner(RunnerOptions):
    """Options of Google Cloud Dataflow, with the component's own image as the workers' container.

    Attributes:
        project, region: of the job.
        temp_location: a folder in a bucket for the job's own files.
        sdk_container_image: the image that workers start from; it holds this package.
        staging_location: a folder for the files that the job starts with; `temp_location` if empty.
        job_name: no two jobs of one name run at a time; derived from the output's identity if empty.
        service_account: of the workers; the project's default if empty.
        network, subnetwork: of the workers; the project's default if empty.
        machine_type: of the workers; the service's choice if empty.
        workers, max_workers: initial and maximum number; 0 leaves it to the service.
        disk_gigabytes: per worker; 0 leaves it to the service.
        public_addresses: whether workers have public IP addresses.
        labels: of the job, for billing.

    Raises:
        UsageError: a value that the service would refuse.
    """

    name: ClassVar[str] = "DataflowRunner"

    project: str = ""
    region: str = ""
    temp_location: str = ""
    sdk_container_image: str = ""
    staging_location: str = ""
    job_name: str = ""
    service_account: str = ""
    network: str = ""
    subnetwork: str = ""
    machine_type: str = ""
    workers: int = 0
    max_workers: int = 0
    disk_gigabytes: int = 0
    public_addresses: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (pattern, expected) in _RULES.items():
            value = getattr(self, name)
            required = name in ("project", "region", "temp_location", "sdk_container_image")
            if (value or required) and not (isinstance(value, str) and re.fullmatch(pattern, value)):
                raise UsageError(
                    f"{name} is {'wrong' if value else 'missing'}",
                    where=f"DataflowRunner, {option_of(name)}",
                    expected=expected,
                    received=repr(value) if value else "nothing",
                )
        for name in ("workers", "max_workers", "disk_gigabytes"):
            check_count(getattr(self, name), name, minimum=0)
        if self.max_workers and self.workers > self.max_workers:
            raise UsageError(
                "the number of workers exceeds the maximum",
                where="DataflowRunner",
                expected=f"at most max_workers={self.max_workers}",
                received=f"workers={self.workers}",
            )
        if self.machine_type.startswith(("f1-", "g1-")):
            raise UsageError(
                "Dataflow does not support machine types with a shared core",
                where="DataflowRunner, --worker-machine-type",
                expected="a machine type such as n2-standard-4",
                received=self.machine_type,
            )
        # A TPU and a GPU also need an option of the service, which only `beam_options` can have.
        accelerator = any("worker_accelerator=" in str(value) for value in self.beam_options.values())
        if self.machine_type == "cloud-tpu" or (_ACCELERATED.match(self.machine_type) and not accelerator):
            raise UsageError(
                "the workers would not get the accelerators of this machine type",
                where="DataflowRunner, --worker-machine-type",
                expected="a machine type without TPUs and GPUs, such as n2-standard-4",
                received=self.machine_type,
                fix="Preprocessing and scoring on Dataflow need none. Dataflow gives accelerators only to jobs with "
                "--beam-option dataflow_service_options=worker_accelerator=...",
            )
        found = re.search(r"regions/([^/]+)/", self.subnetwork)
        if found and found[1] != self.region:
            raise UsageError(
                "the subnetwork is in another region",
                where="DataflowRunner, --subnetwork",
                expected=f"one in {self.region}",
                received=self.subnetwork,
            )
        _check_labels(self.labels)

    def flags(self) -> list[str]:
        values: dict[str, object] = {
            "project": self.project,
            "region": self.region,
            "temp_location": self.temp_location,
            "staging_location": self.staging_location,
            "sdk_container_image": self.sdk_container_image,
            # The image holds all that workers need: nothing is staged from the driver or installed by it.
            "sdk_location": "container",
            "job_name": self.job_name,
            "service_account_email": self.service_account,
            "network": self.network,
            "subnetwork": self.subnetwork,
            "machine_type": self.machine_type,
            "num_workers": self.workers,
            "max_num_workers": self.max_workers,
            "disk_size_gb": self.disk_gigabytes,
        }
        labels = [f"--labels={key}={value}" for key, value in sorted(self.labels.items())]
        private = [] if self.public_addresses else ["--no_use_public_ips"]
        field_flags = [f"--{name}={value}" for name, value in values.items() if value]
        # Workers import the stages from the image, and do not need the driver's main module.
        return [*field_flags, *labels, *private, "--no_save_main_session"]

    def check_places(self, data: str, output: str) -> None:
        for name, uri in (("data", data), ("output", output)):
            if "://" not in uri or uri.startswith("file:"):
                raise UsageError(
                    f"Dataflow's workers cannot reach the {name}",
                    where=f"--{name}",
                    expected="gs://bucket/..." if name == "output" else "gs://bucket/... or a BigQuery table",
                    received=uri,
                )

    def make(self) -> PipelineRunner:
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner as Runner

        return Runner()


def run_labels(environment: Mapping[str, str]) -> dict[str, str]:
    """The labels of the Vertex Pipelines run that a task is part of. The task's jobs get them too, for billing.

    google-cloud-pipeline-components reads the same variable. A label passed as an input of the task would be part of
    the engine's cache key, and an edited label would repeat the work.
    """
    try:
        labels = json.loads(environment.get("VERTEX_AI_PIPELINES_RUN_LABELS", "{}"))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _check_labels(labels: Mapping[str, str]) -> None:
    wrong = [
        f"{key}={value}" for key, value in labels.items() if not (_LABEL_KEY.match(key) and _LABEL_VALUE.match(value))
    ]
    if wrong or len(labels) > _MAX_LABELS:
        raise UsageError(
            "a label is not valid" if wrong else "there are too many labels",
            where="DataflowRunner, --label",
            expected=f"at most {_MAX_LABELS} of KEY=VALUE in lower-case letters, digits, - and _, 63 of them at most",
            received=", ".join(wrong) or str(len(labels)),
        )
