"""Vertex AI options, which check themselves by the service's rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.rules.mode import check_mode
from headrace.core.serving_mode import Serving
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.images import ROLES, check_image
from headrace.pipelines.platforms.machines import task_limits
from headrace.pipelines.platforms.options import check, check_serving
from headrace.pipelines.platforms.vertex_scheduling import (
    DEFAULT_WAIT_HOURS,
    DURATION_HOURS,
    SECOND_HOURS,
    Scheduling,
    check_flex_start,
)
from headrace.pipelines.platforms.vertex_tuning import TuningOptions

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]\Z")
_LOCATION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+\Z")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com\Z")
_NETWORK = re.compile(r"projects/[0-9]+/global/networks/[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]\Z")
_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+\Z")
# Tasks that are separate jobs, and the fix where one is configured like other tasks.
_TABLES_OF_JOBS = {
    "train": "Training has the table [vertex.training]",
    "tune": "A search has the tables [vertex.tuning] and, for each trial, [vertex.training]",
}


@dataclass(frozen=True)
class TaskOptions:
    """Options of a pipeline task: requirements of the machine that Vertex AI chooses for it.

    Attributes:
        cpu, memory: limits, such as 8 and "32G"; 0 and "" leave them to the service (e2-standard-4).
        accelerator, accelerator_count: such as NVIDIA_TESLA_T4 and 1.
        retries: maximum retries of a failed task; its identity makes a retry safe.
        cache: whether outputs of an earlier run with the same inputs are reused.
    """

    cpu: int = 0
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    retries: int = 2
    cache: bool = True

    def __post_init__(self) -> None:
        known = vertex_rules.table()["accelerators"]
        task_limits.check_options(self.cpu, self.memory)
        if bool(self.accelerator) != bool(self.accelerator_count):
            raise vertex_rules.refuse(
                "accelerator_count", "accelerator and accelerator_count do not go together", self.accelerator or "none"
            )
        if self.accelerator and self.accelerator not in known:
            raise vertex_rules.refuse_accelerator(self.accelerator)
        if self.accelerator and str(self.accelerator_count) not in known[self.accelerator]:
            received = f"{self.accelerator_count} x {self.accelerator}"
            raise vertex_rules.refuse("accelerator", "no machine has this number of the accelerator", received)
        check(0 <= self.retries <= 10, "retries is not valid", expected="0 to 10", received=self.retries)


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training as a custom job.

    Attributes:
        machine_type: of each replica.
        accelerator, accelerator_count: in each replica, such as NVIDIA_L4 and 1.
        tpu_topology: of TPU v5e and later, such as 2x2.
        replicas: number of machines that train together.
        spot: whether to use spot machines, which the service may preempt. The job then restarts, and training resumes
            from its last checkpoint, which is stored under the run's root.
        flex_start: whether the job waits in a queue until all its GPUs are available (FLEX_START).
        max_wait_hours: maximum time in that queue, in hours; 0 is without a limit.
        persistent_resource: ID of a persistent resource of the same project and region, which has a pool of the same
            machine, accelerators and boot disk; "" for machines of the job's own.
        disk_type, disk_gigabytes: of each replica's boot disk: pd-ssd, pd-standard or hyperdisk-balanced; "" leaves the
            type to the service, or is hyperdisk-balanced if the machine supports no other type.
        timeout_hours: maximum time of the job, in hours.
        retries: maximum retries of a failed job, each as a new job.
        restart: whether the whole job restarts when one of its machines does.
        cache: whether outputs of an earlier run with the same inputs are reused.
        environment: environment variables of the training process.
    """

    machine_type: str = "n1-standard-8"
    accelerator: str = ""
    accelerator_count: int = 0
    tpu_topology: str = ""
    replicas: int = 1
    spot: bool = False
    flex_start: bool = False
    max_wait_hours: float = DEFAULT_WAIT_HOURS
    persistent_resource: str = ""
    disk_type: str = ""
    disk_gigabytes: int = 100
    timeout_hours: float = 168.0
    retries: int = 2
    restart: bool = True
    cache: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vertex_rules.check_machine(self.machine_type, self.accelerator, self.accelerator_count, self.tpu_topology)
        check(1 <= self.replicas <= 1000, "replicas is not valid", expected="1 to 1000", received=self.replicas)
        if vertex_rules.is_tpu(self.machine_type) and self.replicas > 1:
            raise vertex_rules.refuse("tpu_replicas", "a TPU does not support replicas", f"replicas={self.replicas}")
        if self.spot and vertex_rules.is_tpu_pod(self.machine_type, self.tpu_topology):
            received = f"{self.machine_type} of {self.tpu_topology or 'several hosts'}"
            raise vertex_rules.refuse("tpu_spot", "this TPU is not available as spot", received)
        if self.spot and self.replicas > 1 and not self.restart:
            raise vertex_rules.refuse("spot_restart", "spot with replicas needs restart", "restart=false")
        if self.flex_start:
            check_flex_start(self.accelerator, self.machine_type)
        if self.disk_type not in ("", *vertex_rules.table()["boot_disks"]):
            raise vertex_rules.refuse("disk_type", "disk_type is not valid", repr(self.disk_type))
        disks = vertex_rules.boot_disks(self.machine_type)
        if self.disk_type and self.disk_type not in disks:
            raise vertex_rules.refuse(
                "disk_of_machine",
                "the machine does not support this boot disk",
                f"{self.disk_type} on {self.machine_type}",
                fix=f"{self.machine_type} takes {' or '.join(disks)}; leave disk_type out",
            )
        if not 100 <= self.disk_gigabytes <= 64_000:
            raise vertex_rules.refuse("disk_size", "disk_gigabytes is not valid", self.disk_gigabytes)
        check(
            SECOND_HOURS <= self.timeout_hours <= DURATION_HOURS,
            "timeout_hours is not valid",
            expected="more than 0: a second or more",
            received=self.timeout_hours,
        )
        self.scheduling()
        check(0 <= self.retries <= 10, "retries is not valid", expected="0 to 10", received=self.retries)
        vertex_rules.check_environment(self.environment)

    def scheduling(self) -> Scheduling:
        """Where the job's machines come from."""
        return Scheduling(
            self.spot,
            self.flex_start,
            self.max_wait_hours,
            self.persistent_resource,
            self.timeout_hours,
            self.restart,
        )

    def boot_disk(self) -> dict[str, str | int]:
        """The boot disk of each replica, as a DiskSpec; without a type it is the service's default."""
        disks = vertex_rules.boot_disks(self.machine_type)
        kind = self.disk_type or (disks[0] if disks == ["hyperdisk-balanced"] else "")
        return {**({"boot_disk_type": kind} if kind else {}), "boot_disk_size_gb": self.disk_gigabytes}


@dataclass(frozen=True)
class DataflowOptions:
    """Options of preprocessing and scoring on Dataflow; `worker` of [images] is its workers' image.

    Attributes:
        temp_location: a folder in a bucket for the job's own files.
        machine_type, workers, max_workers, disk_gigabytes: as of DataflowRunner; "" and 0 leave them to the service.
        subnetwork: regions/REGION/subnetworks/NAME.
        public_addresses: whether workers have public IP addresses.
    """

    temp_location: str
    machine_type: str = ""
    workers: int = 0
    max_workers: int = 0
    disk_gigabytes: int = 0
    subnetwork: str = ""
    public_addresses: bool = True

    def __post_init__(self) -> None:
        vertex_rules.check_name(self.machine_type)


@dataclass(frozen=True)
class BatchPredictionOptions:
    """Options of batch scoring by Vertex AI's batch prediction jobs, each a task of the pipeline.

    Attributes:
        staging: a folder in a bucket for instances and results.
        machine_type, replicas: of the workers, and their maximum number.
        batch_size: number of instances per call of the model's container.
    """

    staging: str
    machine_type: str = "n2-standard-4"
    replicas: int = 10
    batch_size: int = 64

    def __post_init__(self) -> None:
        vertex_rules.check_machine(self.machine_type, "", 0)


@dataclass(frozen=True)
class VertexEndpointOptions:
    """Options of the endpoint that a blessed model is deployed to, and of the model's entry in the registry.

    Attributes:
        machine_type, accelerator, accelerator_count: of each replica of the server.
        min_replicas, max_replicas: bounds of autoscaling.
        traffic: percentage of the requests for a new version; the rest is divided among the others in proportion to
            their earlier traffic.
        aliases: of the version in the Model Registry; other versions lose them.
        timeout_minutes: maximum time until the model is served, in minutes.
        rules: "enforce" refuses rows that break the Model's rules, "warn" predicts and counts them; it belongs to the
            registered version.
        dedicated: whether a new endpoint is a dedicated public one, at a host of its own: requests of 10 MB.
        inference_timeout_s: timeout of a request to a dedicated endpoint, in seconds.
        traffic_log: gs:// prefix where the servers write their counts of requests, by which a canary is decided; "" for
            no counts.
        request_log: gs:// prefix where the servers log a sample of their requests, which a canary's replay reads; ""
            for no log.
        serving: mode of the version's servers, and its table; by default those of the Model's Problem.
    """

    machine_type: str = "n1-standard-4"
    accelerator: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    traffic: int = 100
    aliases: tuple[str, ...] = ("champion",)
    timeout_minutes: int = 60
    rules: str = "enforce"
    dedicated: bool = False
    inference_timeout_s: int = 600
    traffic_log: str = ""
    request_log: str = ""
    serving: Serving | None = None

    def __post_init__(self) -> None:
        check_mode(self.rules, where="rules")
        check_serving(self.serving, ("gs://",))
        vertex_rules.check_machine(self.machine_type, self.accelerator, self.accelerator_count, shared=True)
        if not 1 <= self.min_replicas <= self.max_replicas:
            received = f"{self.min_replicas} to {self.max_replicas}"
            raise vertex_rules.refuse("replicas", "the numbers of replicas are not valid", received)
        if not 0 <= self.traffic <= 100:
            raise vertex_rules.refuse("traffic", "traffic is not valid", self.traffic)
        if not 1 <= self.inference_timeout_s <= 3600 or (self.inference_timeout_s != 600 and not self.dedicated):
            received = f"{self.inference_timeout_s}{'' if self.dedicated else ' without dedicated'}"
            raise vertex_rules.refuse("inference_timeout", "inference_timeout_s is not valid", received)
        for alias in self.aliases:
            if not _ALIAS.match(alias) or alias == "default":
                raise vertex_rules.refuse("alias", "an alias is not valid", repr(alias))
        for name, log in (("traffic_log", self.traffic_log), ("request_log", self.request_log)):
            check(
                not log or log.startswith("gs://"), f"{name} is not valid", expected="gs://BUCKET/PREFIX", received=log
            )
        check(
            1 <= self.timeout_minutes <= 24 * 60,
            "timeout_minutes is not valid",
            expected="1 to 1440",
            received=self.timeout_minutes,
        )


@dataclass(frozen=True)
class VertexOptions:
    """Options of Vertex AI.

    Attributes:
        project, location: a project's id, and a region.
        service_account: of custom jobs, Dataflow's workers and the server; the service's default if empty.
        network: a network that custom jobs are peered with; an endpoint within one could not split its traffic.
        encryption_key: a key of Cloud KMS for data of jobs and models.
        launcher_image: image of google-cloud-pipeline-components by its digest, which starts jobs; its tag if empty.
        labels: of every run, job, model and endpoint, for billing. Jobs get them from their run, to which `headrace
            submit` adds them: no cached result depends on a label.
        tasks: options of each task, by name.
        training: options of the custom job; in a search, of each trial's.
        tuning: options of the search.
        dataflow: options of Dataflow; without it, Beam runs within its task.
        batch_prediction: options of the jobs; without it, batch scoring chooses its execution mode when it runs.
        endpoint: options of the endpoint and the registry.
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
    endpoint: VertexEndpointOptions = field(default_factory=VertexEndpointOptions)

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
                f"{name} is not valid",
                expected=expected,
                received=value,
            )
        vertex_rules.check_region(self.location)
        if self.launcher_image:
            check_image(self.launcher_image, "vertex.launcher_image")
        if self.network and not _NETWORK.match(self.network):
            raise vertex_rules.refuse("network", "network is not valid", repr(self.network))
        vertex_rules.check_labels(self.labels)
        for name in self.tasks:
            check(
                name in ROLES and name not in _TABLES_OF_JOBS,
                f"the task {name!r} does not exist",
                expected=f"one of {', '.join(role for role in ROLES if role not in _TABLES_OF_JOBS)}",
                received=name,
                fix=_TABLES_OF_JOBS.get(name),
            )

    def doubts(self) -> list[vertex_rules.BrokenRule]:
        """Regions and machine types that may be newer than the table, or mistakes."""
        machines = {
            "vertex.training": self.training.machine_type,
            "vertex.dataflow": self.dataflow.machine_type if self.dataflow else "",
            "vertex.batch_prediction": self.batch_prediction.machine_type if self.batch_prediction else "",
            "vertex.endpoint": self.endpoint.machine_type,
        }
        return vertex_rules.doubts(self.location, machines)
