"""Which Beam runner does the work, and with what: options that check themselves before anything is launched.

Beam is imported only to make a runner, or where a user passes options of Beam's own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from headrace.components.errors import UsageError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.runner import PipelineRunner

_JOB_NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
# Google Cloud's own rules: each is what the service answers minutes after a job was staged.
_RULES: Mapping[str, tuple[str, str]] = {
    "project": (r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]", "a project's ID, such as my-project (not its number)"),
    "region": (r"[a-z]+(-[a-z]+)+[0-9]+", "a region, such as us-central1 (not a zone)"),
    "temp_location": (r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\r\n]+", "a folder in a bucket, such as gs://bucket/temp"),
    "staging_location": (r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\r\n]+", "a folder in a bucket"),
    "sdk_container_image": (
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?",
        "the image that holds this component, such as europe-docker.pkg.dev/my-project/headrace/preprocess:1.0",
    ),
    "service_account": (r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", "NAME@PROJECT.iam.gserviceaccount.com"),
    "network": (r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "a network's name"),
    "subnetwork": (
        r"(https://www\.googleapis\.com/compute/v1/projects/[a-z0-9.:-]+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+",
        "regions/REGION/subnetworks/NAME, or its whole address",
    ),
    "machine_type": (r"[a-z][a-z0-9]*(-[a-z0-9]+)+", "a machine type, such as n2-standard-4"),
    "job_name": (_JOB_NAME, "1 to 63 lower-case letters, digits and -, from a letter to a letter or digit"),
}
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_MAX_LABELS = 64
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}\Z")
ENVIRONMENTS = ("DOCKER", "EXTERNAL", "PROCESS", "LOOPBACK")


@dataclass(frozen=True)
class RunnerOptions:
    """What all runners take.

    Attributes:
        beam_options: options of Beam's own, without their dashes; "true" or "" for those that take no value. A value
            with commas is given once for each of them.

    Raises:
        UsageError: an option that Beam does not know, or whose value it does not take, or that has a place of its own.
    """

    name: ClassVar[str]
    # Whether workers run on this machine, and so may leave rows to each other on its disk.
    local: ClassVar[bool] = False

    _: dataclasses.KW_ONLY
    beam_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.beam_options:
            _check_beam_options(self.beam_options)

    def flags(self) -> list[str]:
        """The options as Beam's command line has them, but for `beam_options`."""
        return []

    def check_places(self, data: str, output: str) -> None:
        """Checks that the runner's workers can reach the rows and the output.

        Raises:
            UsageError: they cannot.
        """

    def pipeline_options(self, job_name: str = "") -> PipelineOptions:
        """As Beam takes them.

        Args:
            job_name: the job's name if the options give none.
        """
        from apache_beam.options.pipeline_options import PipelineOptions

        flags = [*self.flags(), *_beam_flags(self.beam_options)]
        if job_name and not any(flag.startswith("--job_name=") for flag in flags) and not self.local:
            flags.append(f"--job_name={job_name}")
        return PipelineOptions(flags)

    def make(self) -> PipelineRunner:
        """The runner itself."""
        raise NotImplementedError


@dataclass(frozen=True)
class DirectRunner(RunnerOptions):
    """Beam's own runner on this machine; named outright, because the default one would first download another.

    Attributes:
        workers: processes; with 1 the work is done in this one, which needs no start.
    """

    name: ClassVar[str] = "DirectRunner"
    local: ClassVar[bool] = True

    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("direct_workers", self.workers)

    def flags(self) -> list[str]:
        if self.workers == 1:
            return []
        return [f"--direct_num_workers={self.workers}", "--direct_running_mode=multi_processing"]

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        return FnApiRunner()


@dataclass(frozen=True)
class DataflowRunner(RunnerOptions):
    """Google Cloud Dataflow, with the component's own image as the workers' container.

    Attributes:
        project, region: where the job runs.
        temp_location: a folder in a bucket for the job's own files.
        sdk_container_image: the image that workers start from; it holds this package.
        staging_location: a folder for what the job is started with; `temp_location` if empty.
        job_name: no two jobs of one name run at a time; it follows from the output's identity if empty.
        service_account: what workers run as; the project's default if empty.
        network, subnetwork: which they are on; the project's default if empty.
        machine_type: the service's choice if empty.
        workers, max_workers: at the start, and at most; 0 leaves it to the service.
        disk_gigabytes: of each worker; 0 leaves it to the service.
        public_addresses: whether workers have addresses of their own on the internet.
        labels: for the bill.

    Raises:
        UsageError: what the service would refuse, minutes later.
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
                    where=f"DataflowRunner, {_option(name)}",
                    expected=expected,
                    received=repr(value) if value else "nothing",
                )
        for name in ("workers", "max_workers", "disk_gigabytes"):
            _check_count(name, getattr(self, name), least=0)
        if self.max_workers and self.workers > self.max_workers:
            raise UsageError(
                "there are more workers than the most",
                where="DataflowRunner",
                expected=f"at most max_workers={self.max_workers}",
                received=f"workers={self.workers}",
            )
        if self.machine_type.startswith(("f1-", "g1-")):
            raise UsageError(
                "Dataflow does not run on machines with a shared core",
                where="DataflowRunner, --machine-type",
                expected="a machine type such as n2-standard-4",
                received=self.machine_type,
            )
        found = re.search(r"regions/([^/]+)/", self.subnetwork)
        if found and found[1] != self.region:
            raise UsageError(
                "the subnetwork is of another region",
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
            # The image holds all that workers need: nothing is staged from, or installed beside, the driver.
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
        given = [f"--{name}={value}" for name, value in values.items() if value]
        # Workers import the stages from the image; the driver's main module is none of theirs.
        return [*given, *labels, *private, "--no_save_main_session"]

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


@dataclass(frozen=True)
class PortableRunner(RunnerOptions):
    """Any runner behind a Beam job server.

    Attributes:
        job_endpoint: the job server, as HOST:PORT.
        environment_type: how workers are started: DOCKER (a container), EXTERNAL (a worker pool that is there
            already, such as a sidecar), PROCESS (a command on each machine) or LOOPBACK (this process; for tests).
        environment_config: the image, HOST:PORT of the pool, or JSON with "command" and "env".

    Raises:
        UsageError: a value that the job server would refuse, or that would make Beam download a job server.
    """

    name: ClassVar[str] = "PortableRunner"

    job_endpoint: str = ""
    environment_type: str = "DOCKER"
    environment_config: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        embedded = self.job_endpoint == "embed" and self.name == "PortableRunner"
        if not embedded and not _ENDPOINT.match(self.job_endpoint):
            raise UsageError(
                f"job_endpoint is {'wrong' if self.job_endpoint else 'missing'}",
                where=f"{self.name}, --job-endpoint",
                expected="HOST:PORT of a Beam job server that runs; without one Beam would download its own",
                received=repr(self.job_endpoint) if self.job_endpoint else "nothing",
            )
        if self.environment_type not in ENVIRONMENTS:
            raise UsageError(
                "there is no such environment",
                where=f"{self.name}, --environment-type",
                expected=f"one of {', '.join(ENVIRONMENTS)}",
                received=repr(self.environment_type),
            )
        expected = self._expected_config()
        if expected:
            raise UsageError(
                "environment_config is wrong" if self.environment_config else "environment_config is missing",
                where=f"{self.name}, --environment-config",
                expected=expected,
                received=self.environment_config or "nothing",
            )

    def _expected_config(self) -> str | None:
        """What environment_config ought to be, or None if it is right."""
        config = self.environment_config
        if self.environment_type == "LOOPBACK":
            return "nothing for LOOPBACK" if config else None
        if self.environment_type == "EXTERNAL":
            return None if _ENDPOINT.match(config) else "HOST:PORT of the worker pool for EXTERNAL"
        if self.environment_type == "DOCKER":
            pattern, expected = _RULES["sdk_container_image"]
            return None if re.fullmatch(pattern, config) else f"for DOCKER {expected}"
        try:
            plain = json.loads(config)
            right = isinstance(plain, dict) and isinstance(plain.get("command"), str) and plain["command"] != ""
        except ValueError:
            right = False
        return None if right else 'for PROCESS a JSON object, such as {"command": "/opt/apache/beam/boot"}'

    def flags(self) -> list[str]:
        flags = [f"--job_endpoint={self.job_endpoint}", f"--environment_type={self.environment_type}"]
        if self.environment_config:
            flags.append(f"--environment_config={self.environment_config}")
        return flags

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.portable_runner import PortableRunner as Runner

        return Runner()


@dataclass(frozen=True)
class FlinkRunner(PortableRunner):
    """Apache Flink, by Beam's Flink job server."""

    name: ClassVar[str] = "FlinkRunner"

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.flink_runner import FlinkRunner as Runner

        return Runner()


@dataclass(frozen=True)
class SparkRunner(PortableRunner):
    """Apache Spark, by Beam's Spark job server."""

    name: ClassVar[str] = "SparkRunner"

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.spark_runner import SparkRunner as Runner

        return Runner()


RUNNERS: Mapping[str, type[RunnerOptions]] = {
    runner.name: runner for runner in (DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, PortableRunner)
}


def runner_options(name: str, values: Mapping[str, Any]) -> RunnerOptions:
    """The options of a runner by its name.

    Args:
        name: one of RUNNERS.
        values: its options by name, and those that were not given as None.

    Raises:
        UsageError: there is no such runner, it has no such option, or a value is wrong.
    """
    kind = RUNNERS.get(name)
    if kind is None:
        raise UsageError("there is no such runner", expected=f"one of {', '.join(RUNNERS)}", received=repr(name))
    given = {option: value for option, value in values.items() if value is not None}
    known = {known.name for known in dataclasses.fields(kind)}
    foreign = sorted(_option(option) for option in given if option not in known)
    if foreign:
        raise UsageError(
            f"{name} does not take {' and '.join(foreign)}",
            where="--runner",
            expected=f"options among {', '.join(sorted(_option(option) for option in known))}",
        )
    return kind(**given)


def _check_beam_options(options: Mapping[str, str]) -> None:
    """Refuses what Beam's own parser does not know or take."""
    import contextlib
    import io

    from apache_beam.options.pipeline_options import PipelineOptions

    own = {"runner", *(flag for kind in RUNNERS.values() for flag in _own_flags(kind))}
    for name in options:
        if name in own:
            raise UsageError(
                f'"{name}" has an option of its own',
                where="--beam-option",
                expected="options that headrace does not name",
            )
    parsers: list[Any] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    (parser,) = parsers
    said = io.StringIO()
    try:
        # The parser says what is wrong on stderr, and exits.
        with contextlib.redirect_stderr(said):
            _, unknown = parser.parse_known_args(_beam_flags(options))
    except SystemExit as error:
        raise UsageError(
            "Beam refuses an option", where="--beam-option", received=said.getvalue().rpartition("error: ")[2].strip()
        ) from error
    if unknown:
        import difflib

        name = unknown[0].partition("=")[0].lstrip("-")
        close = difflib.get_close_matches(name, re.findall(r"--([a-z_]+)", parser.format_usage()), n=1)
        raise UsageError(
            f'Beam knows no option "{name}"',
            where="--beam-option",
            expected="an option as Beam's documentation spells it, such as number_of_worker_harness_threads",
            received=unknown[0],
            fix=f'Perhaps "{close[0]}" is meant' if close else None,
        )


def _own_flags(kind: type[RunnerOptions]) -> Sequence[str]:
    """The names, as Beam spells them, of the options that a runner has fields for."""
    if issubclass(kind, PortableRunner):
        return ("job_endpoint", "environment_type", "environment_config")
    if kind is DirectRunner:
        return ("direct_num_workers", "direct_running_mode")
    return (
        *("project", "region", "temp_location", "staging_location", "sdk_container_image", "sdk_location", "job_name"),
        *("service_account_email", "network", "subnetwork", "machine_type", "num_workers", "max_num_workers"),
        *("disk_size_gb", "labels", "use_public_ips", "no_use_public_ips", "worker_harness_container_image"),
    )


def _beam_flags(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}" if value in ("", "true") else f"--{name}={value}" for name, value in options.items()]


def _check_count(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is wrong", expected=f"a whole number, {least} or more", received=repr(value))


def _check_labels(labels: Mapping[str, str]) -> None:
    wrong = [
        f"{key}={value}" for key, value in labels.items() if not (_LABEL_KEY.match(key) and _LABEL_VALUE.match(value))
    ]
    if wrong or len(labels) > _MAX_LABELS:
        raise UsageError(
            "a label is wrong" if wrong else "there are too many labels",
            where="DataflowRunner, --label",
            expected=f"at most {_MAX_LABELS} of KEY=VALUE in lower-case letters, digits, - and _, 63 of them at most",
            received=", ".join(wrong) or str(len(labels)),
        )


def _option(name: str) -> str:
    """The option of the command line that sets a field."""
    spelled = {"beam_options": "beam_option", "labels": "label", "public_addresses": "no_public_addresses"}
    return f"--{spelled.get(name, name).replace('_', '-')}"
