"""Vertex AI scheduling of custom jobs: strategies of provisioning, and persistent resources."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.pipelines.platforms import vertex_rules

DEFAULT_WAIT_HOURS = 24.0
_MOST_HOURS = 168.0
SECOND_HOURS = 1 / 3600
# The maximum of protobuf's Duration: 10,000 years.
DURATION_HOURS = 315_576_000_000 / 3600
_RESOURCE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True)
class Scheduling:
    """Where the machines of a custom job come from.

    Attributes:
        spot: whether they are spot machines.
        flex_start: whether the job waits in a queue for them.
        max_wait_hours: maximum time in that queue, in hours; 0 is without a limit.
        persistent_resource: ID of a persistent resource that has them; "" for machines of the job's own.
        timeout_hours: maximum time of the job, in hours.
        restart: whether the whole job restarts when one of its machines does.

    Raises:
        UsageError: the service would reject or ignore a value.
    """

    spot: bool
    flex_start: bool
    max_wait_hours: float
    persistent_resource: str
    timeout_hours: float
    restart: bool

    def __post_init__(self) -> None:
        if self.spot and self.flex_start:
            raise vertex_rules.refuse("one_strategy", "spot and flex_start exclude each other", "spot, flex_start")
        # Less than a second would be sent as 0 s, which is a wait without a limit.
        if self.max_wait_hours and not SECOND_HOURS <= self.max_wait_hours <= DURATION_HOURS:
            raise vertex_rules.refuse("max_wait", "max_wait_hours is not valid", self.max_wait_hours)
        if self.max_wait_hours != DEFAULT_WAIT_HOURS and not self.flex_start:
            received = f"max_wait_hours={self.max_wait_hours:g} without flex_start"
            raise vertex_rules.refuse("max_wait", "max_wait_hours needs flex_start", received)
        if self.flex_start and self.timeout_hours > _MOST_HOURS:
            received = f"timeout_hours={self.timeout_hours:g}"
            raise vertex_rules.refuse("flex_start", "timeout_hours is too long for flex_start", received)
        if self.persistent_resource and not _RESOURCE.match(self.persistent_resource):
            received = repr(self.persistent_resource)
            raise vertex_rules.refuse("persistent_resource", "persistent_resource is not valid", received)
        if self.persistent_resource and self.strategy != "STANDARD":
            received = f"persistent_resource and {'spot' if self.spot else 'flex_start'}"
            raise vertex_rules.refuse("persistent_machines", "a persistent resource has its machines already", received)

    @property
    def strategy(self) -> str:
        """The service's name of the strategy."""
        return "SPOT" if self.spot else "FLEX_START" if self.flex_start else "STANDARD"

    @property
    def timeout(self) -> str:
        """The maximum time of the job, as a Duration."""
        return f"{round(self.timeout_hours * 3600)}s"

    @property
    def max_wait(self) -> str:
        """The maximum time in the queue, as a Duration."""
        return f"{round(self.max_wait_hours * 3600)}s"

    def request(self) -> dict[str, str | bool]:
        """The message Scheduling of the API; a wait is valid with FLEX_START only."""
        return {
            "strategy": self.strategy,
            "timeout": self.timeout,
            "restart_job_on_worker_restart": self.restart,
            **({"max_wait_duration": self.max_wait} if self.flex_start else {}),
        }


def check_flex_start(accelerator: str, machine_type: str) -> None:
    """Refuses a machine that FLEX_START has no queue for.

    Raises:
        UsageError: the accelerator is not one of the service's list.
    """
    if accelerator not in vertex_rules.table()["flex_start"]:
        received = f"{machine_type} with {accelerator or 'no accelerator'}"
        raise vertex_rules.refuse("flex_start", "flex_start is not available for this machine", received)
