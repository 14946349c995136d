"""What the user says about Vertex AI: options that check themselves against the service's rules."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.errors import UsageError
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.images import ROLES, check_image
from headrace.pipelines.platforms.options import check
from headrace.pipelines.platforms.vertex_tuning import TuningOptions

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]\Z")
_LOCATION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+\Z")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com\Z")
_NETWORK = re.compile(r"projects/[0-9]+/global/networks/[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MEMORY = re.compile(r"([0-9]+)(G|Gi|M|Mi)\Z")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]\Z")
_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+\Z")
_DISKS = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
_MOST_CPUS, _MOST_GIGABYTES = 96, 624
# Tasks that are jobs of their own, and what to do where one is taken for a task like others.
_TABLES_OF_JOBS = {
    "train": "Training has the table [vertex.training]",
    "tune": "A search has the tables [vertex.tuning] and, for each trial, [vertex.training]",
}


@dataclass(frozen=True)
class TaskOptions:
    """A pipeline task: what it asks of the machine that Vertex AI chooses for it.

    Attributes:
        cpu, memory: at most, such as 8 and "32G"; 0 and "" leave it to the service (e2-standard-4).
        accelerator, accelerator_count: such as NVIDIA_TESLA_T4 and 1.
        retries: how often a task that failed is tried again; its identity makes a retry safe.
        cache: whether what an earlier run made of the same input is taken.
    """

    cpu: int = 0
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    retries: int = 2
    cache: bool = True

    def __post_init__(self) -> None:
        known = vertex_rules.table()["accelerators"]
        found = _MEMORY.match(self.memory)
        if not 0 <= self.cpu <= _MOST_CPUS:
            raise vertex_rules.refuse("task_machine", "cpu is wrong", self.cpu)
        if self.memory and (found is None or (found[2][0] == "G" and int(found[1]) > _MOST_GIGABYTES)):
            raise vertex_rules.refuse("task_machine", "memory is wrong", repr(self.memory))
        if bool(self.accelerator) != bool(self.accelerator_count):
            raise vertex_rules.refuse(
                "accelerator_count", "accelerator and accelerator_count do not go together", self.accelerator or "none"
            )
        if self.accelerator and str(self.accelerator_count) not in known.get(self.accelerator, {}):
            raise vertex_rules.refuse(
                "accelerator", "there is no such accelerator", f"{self.accelerator_count} x {self.accelerator}"
            )
        check(0 <= self.retries <= 10, "retries is wrong", expected="0 to 10", received=self.retries)


@dataclass(frozen=True)
class TrainingOptions:
    """Training as a custom job.

    Attributes:
        machine_type: of each replica.
        accelerator, accelerator_count: in each replica, such as NVIDIA_L4 and 1.
        tpu_topology: of TPU v5e and later, such as 2x2.
        replicas: machines that train together.
        spot: whether machines are taken that the service may take back. The job begins again then, and training goes
            on from its last checkpoint, which is kept under the run's root.
        disk_type, disk_gigabytes: of each replica's boot disk.
        timeout_hours: after which the job is ended.
        retries: how often a job that failed is given again, as another job.
        restart: whether the whole job begins again when one of its machines does.
        cache: whether what an earlier run made of the same input is taken.
        environment: variables of the training process.
    """

    machine_type: str = "n1-standard-8"
    accelerator: str = ""
    accelerator_count: int = 0
    tpu_topology: str = ""
    replicas: int = 1
    spot: bool = False
    disk_type: str = "pd-ssd"
    disk_gigabytes: int = 100
    timeout_hours: float = 168.0
    retries: int = 2
    restart: bool = True
    cache: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vertex_rules.check_machine(self.machine_type, self.accelerator, self.accelerator_count, self.tpu_topology)
        check(1 <= self.replicas <= 1000, "replicas is wrong", expected="1 to 1000", received=self.replicas)
        if vertex_rules.is_tpu(self.machine_type) and self.replicas > 1:
            raise vertex_rules.refuse("tpu_replicas", "a TPU takes no replicas", f"replicas={self.replicas}")
        if self.spot and vertex_rules.is_tpu_pod(self.machine_type, self.tpu_topology):
            received = f"{self.machine_type} of {self.tpu_topology or 'several hosts'}"
            raise vertex_rules.refuse("tpu_spot", "this TPU is not to be had as spot", received)
        if self.spot and self.replicas > 1 and not self.restart:
            raise vertex_rules.refuse("spot_restart", "spot with replicas needs restart", "restart=false")
        if self.disk_type not in _DISKS:
            raise vertex_rules.refuse("disk_type", "disk_type is wrong", repr(self.disk_type))
        if not 100 <= self.disk_gigabytes <= 64_000:
            raise vertex_rules.refuse("disk_size", "disk_gigabytes is wrong", self.disk_gigabytes)
        check(
            0 < self.timeout_hours < math.inf,
            "timeout_hours is wrong",
            expected="more than 0",
            received=self.timeout_hours,
        )
        check(0 <= self.retries <= 10, "retries is wrong", expected="0 to 10", received=self.retries)
        _check_environment(self.environment)


@dataclass(frozen=True)
class DataflowOptions:
    """Preprocessing and scoring on Dataflow; [images] names its workers' container as `worker`.

    Attributes:
        temp_location: a folder in a bucket for the job's own files.
        machine_type, workers, max_workers, disk_gigabytes: as Dataflow takes them; "" and 0 leave it to the service.
        subnetwork: regions/REGION/subnetworks/NAME.
        public_addresses: whether workers have addresses of their own on the internet.
    """

    temp_location: str
    machine_type: str = ""
    workers: int = 0
    max_workers: int = 0
    disk_gigabytes: int = 0
    subnetwork: str = ""
    public_addresses: bool = True


@dataclass(frozen=True)
class BatchPredictionOptions:
    """Batch scoring by Vertex AI's batch prediction jobs, each a task of the pipeline.

    Attributes:
        staging: a folder in a bucket for instances and results.
        machine_type, replicas: of the workers, these at most.
        batch_size: instances that the model's container is given at once.
    """

    staging: str
    machine_type: str = "n2-standard-4"
    replicas: int = 10
    batch_size: int = 64

    def __post_init__(self) -> None:
        vertex_rules.check_machine(self.machine_type, "", 0)


@dataclass(frozen=True)
class EndpointOptions:
    """The endpoint that a blessed model is deployed to, and the model's entry in the registry.

    Attributes:
        machine_type, accelerator, accelerator_count: of each replica of the server.
        min_replicas, max_replicas: at all times, and at most.
        traffic: percent of the requests that a new version gets; the others keep their proportions of the rest.
        aliases: of the version in the Model Registry; they move from the one that had them.
        timeout_minutes: until the model answers.
    """

    machine_type: str = "n1-standard-4"
    accelerator: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    traffic: int = 100
    aliases: tuple[str, ...] = ("champion",)
    timeout_minutes: int = 60

    def __post_init__(self) -> None:
        vertex_rules.check_machine(self.machine_type, self.accelerator, self.accelerator_count, shared=True)
        if not 1 <= self.min_replicas <= self.max_replicas:
            received = f"{self.min_replicas} to {self.max_replicas}"
            raise vertex_rules.refuse("replicas", "the replicas are wrong", received)
        if not 0 <= self.traffic <= 100:
            raise vertex_rules.refuse("traffic", "traffic is wrong", self.traffic)
        for alias in self.aliases:
            if not _ALIAS.match(alias) or alias == "default":
                raise vertex_rules.refuse("alias", "an alias is wrong", repr(alias))
        check(
            1 <= self.timeout_minutes <= 24 * 60,
            "timeout_minutes is wrong",
            expected="1 to 1440",
            received=self.timeout_minutes,
        )


@dataclass(frozen=True)
class VertexOptions:
    """All that the user says about Vertex AI.

    Attributes:
        project, location: where everything runs: a project's id, and a region.
        service_account: what custom jobs, Dataflow's workers and the server run as; the service's own if empty.
        network: a network that custom jobs are peered with; an endpoint within one could not share its traffic.
        encryption_key: a key of Cloud KMS for what jobs and models keep.
        launcher_image: google-cloud-pipeline-components by its digest, which gives the jobs; its own tag if empty.
        labels: on every run, job, model and endpoint, for the bill. Jobs get them from their run, to which `headrace
            submit` gives them: no cached result depends on one.
        tasks: what each task asks for, by its name.
        training: the custom job; of a search, each trial's.
        tuning: the search.
        dataflow: without it, Beam works within its own task.
        batch_prediction: without it, batch scoring settles its approach when it runs.
        endpoint: the endpoint and the registry.
    """

    project: str
    location: str
    service_account: str = ""
    network: str = ""
    encryption_key: str = ""
    launcher_image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, TaskOptions] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)
    dataflow: DataflowOptions | None = None
    batch_prediction: BatchPredictionOptions | None = None
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)

    def __post_init__(self) -> None:
        for name, pattern, expected in (
            ("project", _PROJECT, "a project's id, such as my-project (not its number)"),
            ("location", _LOCATION, "a region, such as europe-west1"),
            ("service_account", _ACCOUNT, "NAME@PROJECT.iam.gserviceaccount.com"),
            ("encryption_key", _KEY, "projects/P/locations/L/keyRings/R/cryptoKeys/K"),
        ):
            value = getattr(self, name)
            required = name in ("project", "location")
            check(
                bool(pattern.match(value)) or not (value or required),
                f"{name} is wrong",
                expected=expected,
                received=value,
            )
        if self.launcher_image:
            check_image(self.launcher_image, "vertex.launcher_image")
        if self.network and not _NETWORK.match(self.network):
            raise vertex_rules.refuse("network", "network is wrong", repr(self.network))
        vertex_rules.check_labels(self.labels)
        for name in self.tasks:
            check(
                name in ROLES and name not in _TABLES_OF_JOBS,
                f"there is no task {name!r}",
                expected=f"one of {', '.join(role for role in ROLES if role not in _TABLES_OF_JOBS)}",
                received=name,
                fix=_TABLES_OF_JOBS.get(name),
            )


def _check_environment(environment: Mapping[str, str]) -> None:
    reserved = [name for name in environment if name.startswith(("AIP_", "CLUSTER_SPEC", "TF_CONFIG"))]
    wrong = [name for name in environment if not _ENVIRONMENT.match(name)]
    if wrong or reserved:
        raise UsageError(
            "a variable's name is wrong" if wrong else "the service sets this variable itself",
            where="environment",
            expected="letters, digits and _, and none of AIP_*, CLUSTER_SPEC and TF_CONFIG",
            received=", ".join(wrong or reserved),
        )
    # The request is JSON that google-cloud-pipeline-components glues together: what it cannot carry is refused here.
    glued = [name for name, value in environment.items() if re.search(r"[\x00-\x1f]|\{\{", value)]
    if glued:
        raise UsageError(
            "a variable's value cannot be carried in the request",
            where="environment",
            expected="text on one line without {{",
            received=", ".join(glued),
        )
