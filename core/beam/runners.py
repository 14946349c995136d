"""Beam runners and their options, which check themselves before anything is launched.

Beam is imported only to create a runner, or where a user passes options of Beam's own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headrace.core.beam.dataflow import DataflowRunner, run_labels
from headrace.core.beam.runner_options import IMAGE, RunnerOptions, option_of
from headrace.core.checks import check_count
from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineRunner

__all__ = [
    "ENVIRONMENTS",
    "RUNNERS",
    "DataflowRunner",
    "DirectRunner",
    "FlinkRunner",
    "PortableRunner",
    "RunnerOptions",
    "SparkRunner",
    "runner_of",
    "runner_options",
]

_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}\Z")
ENVIRONMENTS = ("DOCKER", "EXTERNAL", "PROCESS", "LOOPBACK")


@dataclass(frozen=True)
class DirectRunner(RunnerOptions):
    """Beam's direct runner on this machine; named explicitly, because Beam's default would first download another.

    Attributes:
        workers: number of processes; with 1 the work is done in this process, without start-up time.
    """

    name: ClassVar[str] = "DirectRunner"
    local: ClassVar[bool] = True

    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.workers, "direct_workers")

    def flags(self) -> list[str]:
        if self.workers == 1:
            return []
        return [f"--direct_num_workers={self.workers}", "--direct_running_mode=multi_processing"]

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        return FnApiRunner()

    def make_streaming(self) -> PipelineRunner:
        # It alone reads Pub/Sub on this machine; it works in one thread.
        from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

        if self.workers != 1:
            raise UsageError(
                "a stream is processed in one process on this machine",
                where="--direct-workers",
                expected="1",
                received=str(self.workers),
            )
        return BundleBasedDirectRunner()


@dataclass(frozen=True)
class PortableRunner(RunnerOptions):
    """Any runner behind a Beam job server.

    Attributes:
        job_endpoint: the job server, as HOST:PORT.
        environment_type: how workers are started: DOCKER (a container), EXTERNAL (a worker pool that already
            runs, such as a sidecar), PROCESS (a command on each machine) or LOOPBACK (this process; for tests).
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
                "the environment type is not valid",
                where=f"{self.name}, --environment-type",
                expected=f"one of {', '.join(ENVIRONMENTS)}",
                received=repr(self.environment_type),
            )
        expected = self._expected_config()
        if expected:
            raise UsageError(
                "environment_config is not valid" if self.environment_config else "environment_config is missing",
                where=f"{self.name}, --environment-config",
                expected=expected,
                received=self.environment_config or "nothing",
            )

    def _expected_config(self) -> str | None:
        """The expected environment_config, or None if it is valid."""
        config = self.environment_config
        if self.environment_type == "LOOPBACK":
            return "nothing for LOOPBACK" if config else None
        if self.environment_type == "EXTERNAL":
            return None if _ENDPOINT.match(config) else "HOST:PORT of the worker pool for EXTERNAL"
        if self.environment_type == "DOCKER":
            pattern, expected = IMAGE
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
    """Apache Flink, through Beam's Flink job server."""

    name: ClassVar[str] = "FlinkRunner"

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.flink_runner import FlinkRunner as Runner

        return Runner()


@dataclass(frozen=True)
class SparkRunner(PortableRunner):
    """Apache Spark, through Beam's Spark job server."""

    name: ClassVar[str] = "SparkRunner"

    def make(self) -> PipelineRunner:
        from apache_beam.runners.portability.spark_runner import SparkRunner as Runner

        return Runner()


RUNNERS: Mapping[str, type[RunnerOptions]] = {
    runner.name: runner for runner in (DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, PortableRunner)
}


def runner_options(name: str, values: Mapping[str, Any]) -> RunnerOptions:
    """Creates the options of a runner by its name.

    Args:
        name: one of RUNNERS.
        values: its options by name; None for those that are not set.

    Raises:
        UsageError: the runner does not exist, it does not have the option, or a value is not valid.
    """
    kind = RUNNERS.get(name)
    if kind is None:
        raise UsageError("the Beam runner is not valid", expected=f"one of {', '.join(RUNNERS)}", received=repr(name))
    options = {option: value for option, value in values.items() if value is not None}
    known = {known.name for known in dataclasses.fields(kind)}
    foreign = sorted(option_of(option) for option in options if option not in known)
    if foreign:
        raise UsageError(
            f"{name} does not accept {' and '.join(foreign)}",
            where="--runner",
            expected=f"options among {', '.join(sorted(option_of(option) for option in known))}",
        )
    return kind(**options)


def runner_of(text: str, environment: Mapping[str, str] | None = None) -> RunnerOptions:
    """Parses a runner from a JSON object, {"name": NAME, OPTION: VALUE, ...}; "" is this process.

    Args:
        text: JSON.
        environment: variables of a task; a Dataflow job gets the labels of the task's run. None for no labels.

    Raises:
        UsageError: the text is not such an object, or its options are not valid.
    """
    if not text:
        return DirectRunner()
    try:
        parsed = json.loads(text)
        name = parsed.pop("name")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(
            "the runner is not a valid JSON object", expected='{"name": NAME, OPTION: VALUE}', received=text
        ) from error
    runner = runner_options(name, parsed)
    if not isinstance(runner, DataflowRunner):
        return runner
    return dataclasses.replace(runner, labels={**run_labels(environment or {}), **runner.labels})
